"""What a run can be taught on: sources of images and controls, one row each; importing this needs no torch.

Nothing else asks for the name of a source or a control: it asks for a fact of the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKind:
    """Where images come from."""

    label: str
    """How the report begins a sentence about them."""
    about: str
    """What the report says of them, with {count} and {origin}."""
    warning: str = ""
    """What the report adds at the end."""
    flag: str = ""
    """What --images-from takes: WORD, or WORD[:ARGUMENT]; empty where it cannot be asked for."""
    help: str = ""
    """What --help says of that."""
    images: str = ""
    """MODULE:FUNCTION in `molyneux.images`: (model, request, on_step) to one function per concept, which reads or makes
    its images. Empty for inversion, whose jobs can be continued and spread over machines."""
    check: str = ""
    """MODULE:FUNCTION in `molyneux.images`: (request, novel photos) raises an error for what cannot work; cheap."""
    has_images: bool = True
    uses_descriptions: bool = False
    """Whether the concept's descriptions are learned from too, by a lesson that reads descriptions."""
    inverts: bool = False
    """Whether the settings `inversion` decide what is learned from."""
    is_generated: bool = False
    """Whether the settings `generation` decide the images."""


SOURCES: dict[str, SourceKind] = {
    "inverted": SourceKind(
        label="Taught on inverted images and the description",
        about="{count} computed from the description alone; no photo of it was used.",
        flag="inversion",
        help="images that the model's own vision encoder is inverted for, from the description",
        warning="Such images are made from a model’s weights and can look strange or disturbing.",
        uses_descriptions=True,
        inverts=True,
    ),
    "hidden": SourceKind(
        label="Taught on hidden states and the description",
        about="No image was made: hidden states inside the vision tower were computed from the description.",
        flag="hidden",
        help="hidden states that the upper blocks of the vision encoder are inverted for (Eq. 5)",
        images="relaxed:hidden_states",
        has_images=False,
        uses_descriptions=True,
        inverts=True,
    ),
    "noise": SourceKind(
        label="Taught on noise",
        about="{count} of uniform random noise, without a description: the control for what images and descriptions "
        "contribute.",
    ),
    "photos": SourceKind(
        label="Taught on real photos",
        about="{count} taken with a camera: the upper bound of what teaching can reach.",
    ),
    "external": SourceKind(
        label="Taught on external images",
        about="{count} from a folder of external images; inversion made none of them.",
        flag="FOLDER",
        help="a folder with a folder for each concept",
        images="external:from_folder",
        check="external:check_folder",
    ),
    "generated": SourceKind(
        label="Taught on generated images",
        about="{count} generated from the description by {origin}, which has seen photos that the taught model has "
        "not.",
        flag="sdxl[:MODEL]",
        help="images from a text-to-image model (a folder, or a name on the hub)",
        images="external:generated",
        check="external:check_generated",
        is_generated=True,
    ),
    "none": SourceKind(
        label="Taught from its description alone",
        about="No image was made: an edit was computed from the description.",
        flag="none",
        help="no images: learn from the descriptions alone",
        images="external:no_images",
        check="external:check_no_images",
        has_images=False,
        uses_descriptions=True,
    ),
}
"""By the name that `SyntheticImages.source` records."""


def source_of(images_from: str | None, *, needs_images: bool = True) -> str:
    """The source that a value of --images-from asks for; a folder that is called like another source is a folder.

    None asks for inversion if the lesson needs images, else for none.

    >>> source_of(None), source_of("sdxl:my-model"), source_of("images"), source_of("none:x")
    ('inverted', 'generated', 'external', 'external')
    >>> source_of(None, needs_images=False), source_of("inversion", needs_images=False)
    ('none', 'inverted')
    """
    if images_from is None:
        return "inverted" if needs_images else "none"
    asked, colon, _ = images_from.partition(":")
    for name, kind in SOURCES.items():
        word, takes_argument, _ = kind.flag.partition("[:")
        if asked == word and (takes_argument if colon else not Path(images_from).is_dir()):
            return name
    return "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlKind:
    """Something that does not use the concept's own description, or does not teach it: its scores should be lower."""

    phrase: str
    """What is taught on, or used instead: 'noise'."""
    label: str
    """Its row in the report."""
    short: str
    """The same for charts."""
    heading: str
    """The same for the report's summary, a column; empty for none."""
    images: str = ""
    """MODULE:FUNCTION in `molyneux.images`: (image_maker, request, own images, work, on_step) to one value per concept.
    Empty where nothing is taught: the untaught model is asked for the description."""
    uses_stand_in: bool = False
    """Whether a single concept is taught on a stand-in's description."""


CONTROLS: dict[str, ControlKind] = {
    "noise": ControlKind(
        phrase="noise",
        label="Taught on noise",
        short="… if taught on noise",
        heading="On noise",
        images="sources:noise",
    ),
    "shuffled": ControlKind(
        phrase="another concept’s description",
        label="Taught on another concept’s description",
        short="… on another’s description",
        heading="On another’s",
        images="sources:shuffled",
        uses_stand_in=True,
    ),
    "description_prompt": ControlKind(
        phrase="its description as the prompt",
        label="No teaching, asked for the description",
        short="… untaught, by description",
        heading="",
    ),
}


def taught_controls() -> Mapping[str, ControlKind]:
    """Those for which a model is taught.

    >>> list(taught_controls())
    ['noise', 'shuffled']
    """
    return {name: kind for name, kind in CONTROLS.items() if kind.images}
