"""`molyneux show`: a recipe, or the paper's concepts or prompts, as they are written down."""

from typing import Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import print_json


def show(
    name: Annotated[str, Parameter(help="A recipe, or one of the paper's files of concepts, as 'rare-concepts'.")],
    /,
    *,
    as_json: flags.AsJson = False,
) -> None:
    """Print a recipe: what it needs, what it does, and what the paper found."""
    from molyneux.recipes.schema import Recipe, concept_file, concept_names
    from molyneux.recipes.status import status

    if name in concept_names():
        from molyneux.concepts import read_concepts

        if as_json:
            print_json({one.name: list(one.descriptions) for one in read_concepts(concept_file(name))})
        else:
            print(concept_file(name).read_text(encoding="utf-8"), end="")
        return
    recipe = Recipe.read(name)
    if as_json:
        print_json(recipe.model_dump(mode="json") | {"digest": recipe.digest, "status": list(status(recipe))})
        return
    print(recipe.text(), end="")
    print(f"# here: {'; '.join(status(recipe))}")
