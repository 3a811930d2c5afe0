"""What one way of teaching descends: a loss over batches of pictures, and the weights that it moves."""

import abc

from jaxtyping import Float
from torch import Generator, Tensor, nn


class Objective(abc.ABC):
    """Prepared once from the untaught model, its student, the pictures and the settings."""

    @property
    @abc.abstractmethod
    def count(self) -> int:
        """How many pictures there are to draw batches from."""

    @abc.abstractmethod
    def parameters(self) -> list[nn.Parameter]:
        """The weights that move, all of the student's, in a fixed order."""

    @abc.abstractmethod
    def loss(self, batch: Tensor, generator: Generator) -> Float[Tensor, ""]:
        """The loss of the pictures with these indices; whatever is drawn comes from the generator."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Leave the change in the student's weights."""
