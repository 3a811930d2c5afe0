"""`molyneux completion`."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that lets a shell complete verbs and flags: eval "$(molyneux completion bash)"."""
    from molyneux.cli.main import app

    print(app.generate_completion(prog_name="molyneux", shell=shell))
