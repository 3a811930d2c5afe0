"""Writing captions, and scoring them."""
