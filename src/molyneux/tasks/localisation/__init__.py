"""Heat maps, masks and their scores."""
