"""`molyneux push`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from molyneux.cli import flags
from molyneux.cli.show import bytes_said, print_json
from molyneux.errors import ConfigError

if TYPE_CHECKING:
    from molyneux.backends.push import Upload


def push(
    folder: Annotated[
        Path,
        Parameter(help="The folder of a run or of a saved model, or what 'molyneux pack' wrote: a file or its folder."),
    ],
    repository: Annotated[str, Parameter(name="ORG/NAME", help="Where to: your name or organisation, and a new name.")],
    /,
    *,
    public: Annotated[
        bool, Parameter(negative=(), help="Let everyone see a new repository; without this it is private.")
    ] = False,
    yes: Annotated[bool, Parameter(negative=(), help="Send without asking.")] = False,
    as_json: flags.AsJson = False,
) -> None:
    """Send a model or packs to the hub of Hugging Face, after saying what will be sent; 'hf:ORG/NAME' names it then.

    The token is that of 'hf auth login', or HF_TOKEN.
    """
    from molyneux.backends.push import planned, send

    upload = planned(folder, repository, public=public)
    say(upload)
    if not yes and not agreed():
        raise ConfigError("nothing was sent: answer y, or add --yes")
    page = send(upload)
    name = f"hf:{upload.repository}"
    if as_json:
        print_json({"name": name, "page": page, "kind": upload.kind, "files": upload.sizes})
    else:
        print(f'sent: {page}; molyneux.load("{name}") and --model {name} read it')


def say(upload: "Upload") -> None:
    """What will be sent, on stderr, where the question is asked too."""
    what = f"the {upload.visibility} repository {upload.repository}{'' if upload.exists else ', which is made'}"
    lines = [f"{upload.kind} to {what}, as {upload.user}:"]
    lines += [f"  {bytes_said(size):>9}  {name}" for name, size in upload.sizes.items()]
    lines += [f"  {bytes_said(sum(upload.sizes.values())):>9}  in all"]
    lines += [f"  removed there: {name}" for name in upload.removed]
    lines += [f"  left out: {name} ({why})" for name, why in upload.left_out.items()]
    lines += [f"  note: {note}" for note in upload.notes]
    print("\n".join(lines), file=sys.stderr)


def agreed() -> bool:
    """Whether a person says yes; without a terminal nobody does."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print("send this? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
