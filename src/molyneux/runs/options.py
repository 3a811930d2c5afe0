"""What every run takes, whatever it does; importing this needs no torch."""

from collections.abc import Callable
from numbers import Integral

from molyneux.arguments import check_kind
from molyneux.errors import ConfigError

Progress = Callable[[str, int, int], None]
"""Called with what is being worked on, how much of it is done, and how much there is."""

LARGEST_SEED = 2**63 - 1


def check_seed(seed: int) -> None:
    """Raise ConfigError unless `seed` is a whole number that every generator takes."""
    check_kind(seed, Integral, "the seed", f"a whole number from 0 to {LARGEST_SEED}")
    if not 0 <= seed <= LARGEST_SEED:
        raise ConfigError(f"the seed is {seed}: expected a whole number from 0 to {LARGEST_SEED}")
