"""Finding images by captions and captions by images."""
