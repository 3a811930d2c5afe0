"""What a model knows before and after teaching, and at what price."""
