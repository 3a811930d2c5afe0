"""What a model sees in photos that nobody has sorted: the best names of each, and whether any name fits."""
