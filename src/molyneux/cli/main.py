"""The command `molyneux`: its verbs, and how every error becomes one line."""

import os
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter

from molyneux import __version__
from molyneux.cli.app import app as web_page
from molyneux.cli.caption import caption
from molyneux.cli.cite import cite
from molyneux.cli.completion import completion
from molyneux.cli.convert import convert
from molyneux.cli.demo import demo
from molyneux.cli.describe import describe
from molyneux.cli.env import env
from molyneux.cli.evaluate import evaluate
from molyneux.cli.flags import presets
from molyneux.cli.help import EXAMPLES, PANELS, asked, told
from molyneux.cli.invert import invert
from molyneux.cli.list import app as listing
from molyneux.cli.localise import localise
from molyneux.cli.memory import keep_freed_memory
from molyneux.cli.packs import apply, pack, remove
from molyneux.cli.push import push
from molyneux.cli.recognise import recognise
from molyneux.cli.report import report
from molyneux.cli.retrieve import retrieve
from molyneux.cli.run import run as run_recipe
from molyneux.cli.show_recipe import show
from molyneux.cli.teach import teach
from molyneux.errors import MolyneuxError
from molyneux.foreign import printable

USAGE = 2
INTERRUPTED = 130

LONGEST = 1800
"""Characters of a line on stderr."""

app = App(
    name="molyneux",
    help="Teach a vision-language model to recognise what it has only read about.",
    version=__version__,
    config=presets,
    help_formatter=PANELS,
    default_parameter=Parameter(negative_iterable=()),
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
VERBS: tuple[Callable[..., None], ...] = (
    teach,
    recognise,
    web_page,
    invert,
    evaluate,
    retrieve,
    localise,
    report,
    run_recipe,
    show,
    caption,
    describe,
    pack,
    apply,
    remove,
    push,
    convert,
    demo,
    env,
    cite,
    completion,
)

for place, verb in enumerate(VERBS):
    app.command(verb, None, sort_key=place)
app.command(listing)


def main() -> None:
    """Run the command line and exit: 0 fine, 2 bad input, 130 interrupted."""
    keep_freed_memory()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit code. Errors that are not ours keep their traceback."""
    try:
        app(asked(list(arguments)), exit_on_error=False, print_error=False)
        told()
    except MolyneuxError as error:
        say(f"error: {error}")
        return USAGE
    except CycloptsError as error:
        verb = arguments[0] if arguments and arguments[0] in EXAMPLES else ""
        say(f"error: {misused(error, verb)} ({' '.join(filter(None, ('molyneux', verb, '--help')))} shows examples)")
        return USAGE
    except KeyboardInterrupt as interrupt:
        say(f"interrupted{''.join(f'; {reason}' for reason in interrupt.args)}")
        return INTERRUPTED
    except BrokenPipeError:
        # whoever reads stdout has seen enough; nothing is to be written to it when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def misused(error: CycloptsError, verb: str) -> str:
    """What is wrong with the flags of a verb."""
    if isinstance(error, MissingArgumentError) and error.argument is not None and not error.argument.tokens:
        return f"{verb} needs {error.argument.name}"
    return str(error)


def say(text: str) -> None:
    """One line on stderr; of a very long one its beginning and its end."""
    line = printable(text)
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 3 :]}"
    print("molyneux:", line, file=sys.stderr)
