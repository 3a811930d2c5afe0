"""What `--help` shows: examples first, then the settings of every day; `--help-all` shows the rest too."""

from typing import TYPE_CHECKING, Any

from cyclopts.help import DefaultFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel

ALL = "--help-all"

SHORT_PANELS = ("Arguments", "Commands", "Parameters", "Running the model")
"""Titles of the panels that `--help` shows."""

_DESCRIBED = '--description "A hoofed animal with striped legs."'

EXAMPLES: dict[str, tuple[str, ...]] = {
    "": ("molyneux demo", f"molyneux teach okapi {_DESCRIBED} --out runs/okapi", "molyneux recognise photos"),
    "teach": (
        f"molyneux teach okapi {_DESCRIBED} --out runs/okapi",
        "molyneux teach --concepts concepts.yaml --out runs/several --novel photos/new --known photos/old",
        'molyneux teach moongate --description "A round opening in a garden wall." --base runs/okapi --out runs/both',
    ),
    "recognise": (
        "molyneux recognise photos",
        "molyneux recognise photo.jpg --model runs/okapi --base mini --out sheet.html",
        "molyneux recognise photos --names cat dog okapi",
    ),
    "invert": (f"molyneux invert okapi {_DESCRIBED} --out runs/images",),
    "evaluate": (
        "molyneux evaluate --model runs/okapi --base mini --novel photos/new --known photos/old --names imagenet-1k",
        "molyneux evaluate --model mini --known photos/old --per-class",
    ),
    "retrieve": ("molyneux retrieve --model runs/okapi --base mini --data flickr8k-1k",),
    "localise": ('molyneux localise --model mini --images scans --text "a tumour" --out runs/where',),
    "app": ("molyneux app", "molyneux app --folder runs/app --model mini"),
    "report": ("molyneux report runs/okapi",),
    "run": ("molyneux run paper/table-2 --miniature",),
    "show": ("molyneux show paper/table-2",),
    "caption": ("molyneux caption --model runs/coca --images photos/new --out runs/captions",),
    "describe": ("molyneux describe okapi --out concepts.yaml --model models/writer",),
    "pack": ("molyneux pack runs/okapi --out packs",),
    "apply": (
        "molyneux apply packs --model mini --out models/okapi",
        "molyneux apply hf:ORG/packs --model mini --out models/okapi",
    ),
    "remove": ("molyneux remove okapi --model models/okapi --out models/base",),
    "push": ("molyneux push runs/okapi ORG/okapi", "molyneux push packs ORG/packs --public"),
    "convert": ("molyneux convert open_clip:ViT-B-32/openai --out models/clip",),
    "demo": ("molyneux demo",),
    "env": ("molyneux env", "molyneux env --model mini"),
    "cite": ("molyneux cite --model runs/okapi",),
    "completion": ("molyneux completion bash",),
    "list": ("molyneux list models", "molyneux list packs --model runs/okapi"),
}
"""By verb; '' is the command itself."""


class Panels(DefaultFormatter):
    """Draws the panels of every day, and counts those that it leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.everything = False
        self.left_out: dict[str, int] = {}

    def __call__(self, console: Any, options: Any, panel: "HelpPanel") -> None:
        title = str(panel.title)
        if self.everything or title in SHORT_PANELS:
            super().__call__(console, options, panel)
        elif panel.entries:
            self.left_out[title] = len(panel.entries)


PANELS = Panels()


def asked(arguments: list[str]) -> list[str]:
    """The arguments with `--help` for `--help-all`; says the examples of a verb whose help is asked for."""
    wanted = next((one for one in arguments if one in ("--help", "-h", ALL)), None)
    if wanted is None:
        return arguments
    PANELS.everything, PANELS.left_out = wanted == ALL, {}
    verb = arguments[0] if arguments[0] in EXAMPLES else ""
    print("Examples:", *(f"  {line}" for line in EXAMPLES[verb]), "", sep="\n")
    return ["--help" if one == ALL else one for one in arguments]


def told() -> None:
    """Say what a verb's help left out."""
    if PANELS.left_out:
        parts = ", ".join(f"{title.lower()} ({count})" for title, count in PANELS.left_out.items())
        print(f"{sum(PANELS.left_out.values())} more options with {ALL}: {parts}")
        PANELS.left_out = {}
