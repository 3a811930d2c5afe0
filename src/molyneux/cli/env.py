"""`molyneux env`."""

from typing import Annotated, Any

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import print_json


def env(
    *,
    model: Annotated[
        str | None, Parameter(help="Say of this model how it reads: photos, and the activation of its towers.")
    ] = None,
    as_json: flags.AsJson = False,
) -> None:
    """Print the versions and the machine that decide a result."""
    from molyneux.runs.environment import machine, versions

    found: dict[str, dict[str, Any]] = {"versions": versions(), "machine": machine()}
    if model is not None:
        from molyneux.backends.load import load
        from molyneux.runs.environment import model_facts

        loaded = load(model)
        photos = loaded.photo_fit.said(loaded.image_size, loaded.crop_fraction)
        facts = model_facts(loaded).as_dict()
        facts["activation"] = facts["activation"] or "no GELU"
        found["model"] = {"model": loaded.name, **facts, "photos": photos}
    if as_json:
        print_json(found)
        return
    for part in found.values():
        for name, value in part.items():
            print(f"{name}: {value}")
