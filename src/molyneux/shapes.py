"""Shape-annotated tensor types that cross rooms."""

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "n 3 h w"]
"""RGB images in [0, 1]; every backend normalises for itself."""

Features = Float[Tensor, "n f"]
"""What a vision tower computes before its projection."""

Embeddings = Float[Tensor, "n d"]
"""Rows of unit length in the space shared by images and texts."""

Memory = Float[Tensor, "n q k"]
"""What a text decoder attends to of each image: q vectors."""

Scores = Float[Tensor, " n"]
"""One number for each image."""

Labels = Int[Tensor, " n"]
"""Class indices."""
