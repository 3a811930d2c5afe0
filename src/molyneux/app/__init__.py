"""`molyneux app`: a page in the browser over the same runs as the command line's. gradio is imported here alone."""
