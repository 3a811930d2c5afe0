"""`molyneux run`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.progress import progress
from molyneux.cli.show import print_json
from molyneux.errors import ConfigError

if TYPE_CHECKING:
    from molyneux.recipes.schema import Recipe


def run(
    recipe: Annotated[str, Parameter(help="One of 'molyneux list recipes', or a YAML file of that layout.")],
    /,
    *,
    data: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            show_default=False,
            help="The data sets' folders, as NAME=FOLDER, or bare in the order in which the recipe needs them; "
            "SET:FOLDER where the folder has the layout of another set, as folder:PHOTOS.",
        ),
    ] = (),
    model: Annotated[
        str | None,
        Parameter(help="A model in place of the recipe's; or POINT=MODEL in place of the one it calls POINT."),
    ] = None,
    concepts: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            show_default=False,
            help="A file of concepts in place of the recipe's; and POINT=FILE where the one it calls POINT has others.",
        ),
    ] = (),
    out: Annotated[
        Path | None,
        Parameter(help="A new folder, or that of the same run to continue it; by default runs/ and the recipe's name."),
    ] = None,
    only: Annotated[
        tuple[str, ...],
        Parameter(
            consume_multiple=True,
            show_default=False,
            help="AXIS=POINT: of an axis this point alone; given again, that one too.",
        ),
    ] = (),
    settings: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            consume_multiple=True,
            show_default=False,
            help="SETTING=VALUE in all experiments: inversion.steps=300, teaching.preset=default or images=noise.",
        ),
    ] = (),
    corenlp_dir: Annotated[
        Path | None,
        Parameter(help="Of captions: the folder of Stanford CoreNLP 3.6.0, without which SPICE is left out."),
    ] = None,
    miniature: Annotated[
        bool, Parameter(negative=(), help="Every stage on a random model and drawings, to see that it runs.")
    ] = False,
    running: flags.RunningFlags = flags.RUNNING,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> None:
    """Go through one of the paper's tables or figures, and print its numbers beside the paper's."""
    from molyneux.recipes.schema import Recipe

    found = Recipe.read(recipe)
    changes = {key: _value(value) for key, value in _split("--set", settings)}
    if corenlp_dir is not None:
        changes["evaluate.corenlp"] = str(corenlp_dir)
    points: dict[str, list[str]] = {}
    for axis, point in _split("--only", only):
        points.setdefault(axis, []).append(point)
    folders = named_folders(found, data)

    from molyneux.recipes.run import RecipeSettings, default_out, run_recipe

    asked = RecipeSettings(
        recipe=found,
        out=default_out(found, miniature) if out is None else out,
        data=folders,
        model=model,
        concepts=concepts,
        only=points,
        changes=changes,
        miniature=miniature,
        running=flags.placed(running),
    )
    with flags.continuable(asked.out), progress(quiet) as on_step:
        result = run_recipe(asked, command=("molyneux", *sys.argv[1:]), on_step=on_step)
    if as_json:
        print_json(result.results)
        return
    print(result.table)
    print(f"written to {result.folder}")


def named_folders(recipe: "Recipe", given: Sequence[str]) -> dict[str, Path]:
    """The folder of each data set: NAME=FOLDER, or bare, in the order of the recipe's needs.

    Raises:
        ConfigError: if one is given twice, or there are more than the recipe needs.
    """
    needed = recipe.needs.data
    found: dict[str, Path] = {}
    for text in given:
        name, equals, folder = text.partition("=")
        if not equals:
            name, folder = next((one for one in needed if one not in found), ""), text
        if not name or name in found:
            raise ConfigError(
                f"--data {text} is one too many: {recipe.name} needs {' and '.join(needed) or 'none'}, one folder each"
            )
        found[name] = Path(folder)
    return found


def _split(flag: str, given: Sequence[str]) -> list[tuple[str, str]]:
    found = []
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"{flag} {text}: expected {'AXIS=POINT' if flag == '--only' else 'SETTING=VALUE'}")
        found.append((key, value))
    return found


def _value(text: str) -> object:
    import yaml

    from molyneux.foreign import parse_yaml

    try:
        return parse_yaml(text)
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"--set: {text!r} is no value: {' '.join(str(error).split())}") from error
