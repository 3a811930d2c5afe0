"""`molyneux env`."""

from molyneux.cli import flags
from molyneux.cli.show import print_json


def env(*, as_json: flags.AsJson = False) -> None:
    """Print the versions and the machine that decide a result."""
    from molyneux.runs.environment import machine, versions

    found = {"versions": versions(), "machine": machine()}
    if as_json:
        print_json(found)
        return
    for part in found.values():
        for name, value in part.items():
            print(f"{name}: {value}")
