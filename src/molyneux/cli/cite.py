"""`molyneux cite`."""

from molyneux.cli import flags
from molyneux.cli.show import print_json


def cite(*, model: flags.Model = "mini", as_json: flags.AsJson = False) -> None:
    """Print the BibTeX of the method and of what was used with it."""
    from molyneux.citations import cite as bibtex

    text = bibtex(model)
    if as_json:
        print_json({"bibtex": text})
    else:
        print(text, end="")
