"""Where in a picture a model sees a text: heat maps, masks made of them, and the Segment Anything Model."""
