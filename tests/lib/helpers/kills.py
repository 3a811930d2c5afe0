"""Commands that are killed at seeded points and repeated: what they leave must be that of one that was not killed."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest

from helpers.abuse import scene, use_small
from molyneux.cli import main
from molyneux.datasets.toy import draw_shapes, write_folder
from molyneux.images.config import ReplayConfig
from molyneux.inversion.config import InversionConfig
from molyneux.runs.folder import is_unfinished

LONGEST = 120
"""Seconds after which a command counts as hanging."""

CRASHED = 70
"""The exit code of a command that ended in a traceback."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

KEPT = "cache"
"""The folder of the scene that stands for the user's cache."""


@dataclass(frozen=True)
class Job:
    """A command that leaves files."""

    name: str
    arguments: tuple[str, ...]
    prints: bool = False
    """Whether what it prints is its result."""


@dataclass(frozen=True)
class Point:
    """When a command is killed, and how."""

    signal: signal.Signals
    event: int | None = None
    """Just before so many changes of the disk."""
    share: float | None = None
    """Or after this share of the time that it takes."""

    def __str__(self) -> str:
        when = f"before change {self.event}" if self.share is None else f"after {self.share:.0%} of its time"
        return f"{self.signal.name} {when}"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, or minus the signal that it died of."""

    code: int
    out: str
    err: str
    events: int
    seconds: float


@dataclass(frozen=True)
class Whole:
    """What a command left that nobody killed."""

    ended: Ended
    files: Mapping[str, str]


@dataclass
class Outcome:
    """What became of one that was killed."""

    job: Job
    points: tuple[Point, ...]
    kind: str
    """'equal', or what was wrong."""
    said: str = ""
    differs: list[str] = field(default_factory=list)


def _without(*keys: str) -> Callable[[bytes], bytes]:
    def masked(content: bytes) -> bytes:
        return json.dumps({key: value for key, value in json.loads(content).items() if key not in keys}).encode()

    return masked


def _page(content: bytes) -> bytes:
    """A report without durations, and without the chart of them and its legend."""
    text = content.decode()
    text = re.sub(r'<svg[^>]*aria-label="Where the time went.*?</svg>', "", text, flags=re.DOTALL)
    text = re.sub(r"[0-9.,]+\s*(ms|s|min|h)\b", "TIME", text)
    return re.sub(r'<span><i class="shade-\d"></i>[^<]*TIME</span>\s*', "", text).encode()


def _digests(content: bytes) -> bytes:
    listed = json.loads(content)
    listed["files"] = {name: one for name, one in listed["files"].items() if Path(name).name not in TIMED}
    return json.dumps(listed).encode()


TIMED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "environment.json": (_without("timings"), "how long each kind of stage took"),
    "images.json": (_without("seconds"), "how long the images took"),
    "digests.json": (_digests, "the digests of the others"),
    "report.html": (_page, "how long stages and images took, and a chart of it"),
}
"""Files that hold times: what is left of one without them, and which times they are."""

DESCRIBED = ("--concepts", "concepts.yaml")
DRAWN = ("--model", "drawn", "--quiet")
SCORED = ("--novel", "novel", "--known", "known", "--names", "names.txt")
FEW = ("--inversion.images=2", "--inversion.steps=60", "--inversion.trace-every=20")
OUT = ("--out", "out/run")

JOBS = (
    Job("teach with words", ("teach", *DESCRIBED, *DRAWN, *SCORED, *OUT)),
    Job("teach with words, without photos", ("teach", *DESCRIBED, *DRAWN, *OUT)),
    Job("teach with images", ("teach", *DESCRIBED, *DRAWN, "--images-from", "inversion", *FEW, "--fresh", *OUT)),
    Job("teach with the paper's recipe", ("teach", *DESCRIBED, *DRAWN, *SCORED, "--inversion-preset", "paper",
        "--teaching-preset", "paper", *FEW, "--inversion.view=32", "--inversion.size=32", "--teaching.steps=4",
        "--show", "novel", *OUT)),
    Job("teach with replay images", ("teach", *DESCRIBED, *DRAWN, "--teaching.loss=bank", "--teaching.steps=4",
        "--teaching.replay-batch=2", *FEW, *OUT)),
    Job("teach with images of a folder", ("teach", *DESCRIBED, *DRAWN, "--images-from", "given", *OUT)),
    Job("teach an adapter", ("teach", *DESCRIBED, *DRAWN, *FEW, "--teaching.loss=bank", "--teaching.steps=4",
        "--teaching.replay-batch=0", "--teaching.update.rank=2", "--adapter-only", *OUT)),
    Job("teach ViLT", ("teach", *DESCRIBED, "--model", "tiny:vilt", "--quiet", "--teaching-preset", "paper-matching",
        *FEW, "--teaching.steps=4", *OUT)),
    Job("invert", ("invert", *DESCRIBED, *DRAWN, *FEW, *OUT)),
    Job("evaluate", ("evaluate", *DRAWN, *SCORED, "--json"), prints=True),
    Job("recognise", ("recognise", "novel/ring/00.png", "novel/cross/01.png", *DRAWN, "--names", "ring", "cross",
        "square", "--json", "--out", "out/page.html"), prints=True),
    Job("retrieve", ("retrieve", *DRAWN, "--data", "captions", "--json"), prints=True),
    Job("retrieve with ViLT", ("retrieve", "--model", "tiny:vilt", "--quiet", "--data", "captions", "--json",
        "--finished", "out/rows"), prints=True),
    Job("localise", ("localise", "--model", "tiny:clip", "--quiet", "--images", "marked", "--text", "a block",
        "--saliency.steps=3", "--saliency.draws=2", *OUT)),
    Job("caption", ("caption", "--model", "letters", "--quiet", "--references", "captions", "--no-java",
        "--captioning.longest=6", "--captioning.shortest=3", *OUT)),
    Job("run a recipe of classification", ("run", "paper/table-9", "--miniature", "--quiet", *OUT)),
    Job("run a recipe of retrieval", ("run", "paper/table-8", "--miniature", "--quiet", *OUT)),
    Job("run a recipe of localisation", ("run", "paper/supplement-table-4", "--miniature", "--quiet", *OUT)),
    Job("pack", ("pack", "two", "--out", "out/packs")),
    Job("apply", ("apply", "packs/ring.safetensors", "packs/cross.safetensors", "--model", "drawn", *OUT)),
    Job("remove", ("remove", "ring", "--model", "two", *OUT)),
    Job("convert", ("convert", "drawn", *OUT)),
    Job("convert ViLT", ("convert", "tiny:vilt", *OUT)),
    Job("report", ("report", "out/copy")),
    Job("describe", ("describe", "cup", "bowl", "kettle", "--endpoint", "ENDPOINT", "--endpoint-model", "x", "--quiet",
        "--out", "out/c.yaml")),
    Job("describe as JSON", ("describe", "cup", "bowl", "kettle", "--endpoint", "ENDPOINT", "--endpoint-model", "x",
        "--quiet", "--out", "out/c.json")),
)  # fmt: skip
"""All verbs that leave files, and each way of teaching."""


@contextlib.contextmanager
def workplace(root: Path) -> Iterator[Path]:
    """A scene at `root` with models, runs and photos, and an endpoint that describes; the current folder meanwhile."""
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch, _endpoint() as address:
        use_small(patch, root)
        # read at once, so that a command meets it as a new process does
        few = ReplayConfig(count=4, together=2, inversion=InversionConfig(steps=30))
        patch.setattr("molyneux.cli.flags.configured_replay", lambda config: few)
        patch.setenv("MOLYNEUX_TEST_ENDPOINT", address)
        _in_child(lambda: scene(root))
        (root / "concepts.yaml").write_text("ring: A round band with a hole.\ncross: Two bars that meet.\n")
        write_folder(root / "given", {kind: draw_shapes(kind, 3, 24, seed=3) for kind in ("ring", "cross")})
        for arguments in (
            ("teach", *DESCRIBED, *DRAWN, "--out", "two"),
            ("pack", "two", "--out", "packs"),
        ):
            ended = run(arguments, root)
            assert ended.code == 0, ended.err
        shutil.rmtree(root / KEPT, ignore_errors=True)
        yield root


def whole(job: Job, root: Path) -> Whole:
    """What the command leaves and prints that is not killed; AssertionError unless it ends well, and so twice."""
    _fresh(root)
    ended = run(job.arguments, root)
    assert ended.code == 0, f"{job.name}: {ended.err}"
    return Whole(ended, listing(root))


def points(found: Whole, count: int, seed: int) -> list[tuple[Point, ...]]:
    """When to kill: half of them before a change of the disk, half by the clock, some of them twice."""
    chance = random.Random(seed)
    events = sorted(chance.sample(range(1, found.ended.events + 1), min(count - count // 2, found.ended.events)))
    chosen: list[tuple[Point, ...]] = []
    for place in range(count):
        how = SIGNALS[(place + seed) % len(SIGNALS)]
        if place < len(events):
            one = Point(how, event=events[place])
        else:
            one = Point(how, share=round(chance.uniform(0.05, 0.95), 2))
        twice = place % 4 == 3 and found.ended.events
        again = (
            [Point(SIGNALS[place % len(SIGNALS)], event=chance.randrange(1, found.ended.events + 1))] if twice else []
        )
        chosen.append((one, *again))
    return chosen


def killed(job: Job, root: Path, found: Whole, when: tuple[Point, ...]) -> Outcome:
    """Kill the command at the points, repeat it to its end, and compare with what it is `found` to leave."""
    _fresh(root)
    for point in when:
        ended = run(job.arguments, root, point, found.ended.seconds)
        if ended.code == CRASHED:
            return Outcome(job, when, "traceback", ended.err)
    ended = run(job.arguments, root)
    return judged(job, root, found, when, ended)


def flipped(job: Job, root: Path, found: Whole, chance: random.Random) -> tuple[Outcome, str]:
    """Kill the command, flip a bit of a file that it kept in its folder or the cache, and repeat it to its end.

    That the file was made again is told in the notes of `environment.json` and, from there, in the report: both may
    differ for that. All else that the report is drawn from is compared.
    """
    _fresh(root)
    point = Point(signal.SIGKILL, event=chance.randrange(1, max(found.ended.events, 1) + 1))
    run(job.arguments, root, point)
    kept = [path for part in ("out/run", "out/rows", KEPT) for path in sorted((root / part).rglob("*"))]
    kept = [path for path in kept if path.is_file() and path.stat().st_size]
    if not kept or not (is_unfinished(root / "out" / "run") or any(root / KEPT in path.parents for path in kept)):
        return Outcome(job, (point,), "nothing kept"), ""
    path = chance.choice(kept)
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content))
    content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    outcome = judged(job, root, found, (point,), run(job.arguments, root))
    told = {"out/run/environment.json", "out/run/report.html"}
    if outcome.differs and told.issuperset(outcome.differs) and "not as it was left" in _notes(root):
        outcome.kind = "equal"
    if outcome.kind == "refused" and not re.fullmatch(r"molyneux: error: .+\n", outcome.said):
        outcome.kind = "unclear"
    return outcome, f"{path.relative_to(root)} at {place}"


def _notes(root: Path) -> str:
    return " ".join(json.loads((root / "out" / "run" / "environment.json").read_text())["notes"])


def judged(job: Job, root: Path, found: Whole, when: tuple[Point, ...], ended: Ended) -> Outcome:
    """Whether a command that was repeated left what it leaves."""
    files = listing(root)
    differs = sorted([path for path in files.keys() | found.files.keys() if files.get(path) != found.files.get(path)])
    if ended.code == CRASHED:
        return Outcome(job, when, "traceback", ended.err)
    if ended.code < 0:
        return Outcome(job, when, "hang", ended.err)
    if ended.code == main.USAGE and not differs and re.search(r"already (exists|holds a finished)", ended.err):
        return Outcome(job, when, "equal", ended.err)  # all was done before the kill
    if ended.code != 0:
        return Outcome(job, when, "refused", ended.err)
    if differs:
        leftovers = [path for path in differs if path not in found.files]
        return Outcome(job, when, "leftover" if leftovers == differs else "different", ended.err, differs)
    if job.prints and ended.out != found.ended.out:
        return Outcome(job, when, "different", ended.out[-500:], ["what it prints"])
    return Outcome(job, when, "equal", ended.err)


def run(arguments: tuple[str, ...], root: Path, point: Point | None = None, usual: float = LONGEST) -> Ended:
    """A command in a process of its own, killed at a point, if one is given."""
    said = root.parent / f"{root.name}-said"
    said.mkdir(exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the endpoint's thread does nothing that a fork could cut
        started = time.monotonic()
        child = os.fork()
    if child == 0:
        _command(arguments, root, said, point)
    if point is not None and point.share is not None:
        _wait(child, point.share * usual, started)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, point.signal)
    status = _wait(child, LONGEST, started)
    if status is None:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
    seconds = time.monotonic() - started
    events = (said / "events").read_text() if (said / "events").exists() else "0"
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, (said / "out").read_text(), (said / "err").read_text(), int(events or 0), seconds)


def _wait(child: int, seconds: float, started: float) -> int | None:
    """The status of a child that ended in time, which stays to be waited for again."""
    while True:
        found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            return os.waitpid(child, 0)[1] if seconds == LONGEST else None
        if time.monotonic() - started > seconds:
            return None
        time.sleep(0.002)


def _command(arguments: tuple[str, ...], root: Path, said: Path, point: Point | None) -> NoReturn:
    """Run in a forked child, which never comes back."""
    code = CRASHED
    changes = _Changes(root, point if point is not None and point.event is not None else None)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(said / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        given = [os.environ["MOLYNEUX_TEST_ENDPOINT"] if one == "ENDPOINT" else one for one in arguments]
        sys.argv = ["molyneux", *arguments]
        sys.addaudithook(changes)
        code = main.run(given)
    except KeyboardInterrupt:
        code = main.INTERRUPTED
    except BaseException:
        traceback.print_exc()
    finally:
        changes.point = None
        sys.stdout.flush()
        sys.stderr.flush()
        (said / "events").write_text(str(changes.count))
        os._exit(code)


class _Changes:
    """Counts what this process changes below a folder, and kills it just before a change."""

    NAMES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "shutil.rmtree")

    def __init__(self, root: Path, point: Point | None) -> None:
        self.root, self.point, self.count = f"{root}{os.sep}", point, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" and event not in self.NAMES:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = arguments[0]
        if isinstance(path, int) or not os.path.abspath(os.fsdecode(path)).startswith(self.root):  # noqa: PTH100
            return
        self.count += 1
        if self.point is not None and self.point.event == self.count:
            os.kill(os.getpid(), self.point.signal)


def listing(root: Path) -> dict[str, str]:
    """A digest of every file below a folder, without the times that `TIMED` tells of; '' for a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_dir():
            found[name] = ""
            continue
        content = path.read_bytes()
        if path.name in TIMED:
            with contextlib.suppress(ValueError):
                content = TIMED[path.name][0](content)
        found[name] = hashlib.sha256(content).hexdigest()
    return found


def _fresh(root: Path) -> None:
    """The scene as it was before any command of the harness."""
    for name in ("out", KEPT):
        shutil.rmtree(root / name, ignore_errors=True)
    shutil.copytree(root / "two", root / "out" / "copy")


def _in_child(work: Callable[[], object]) -> None:
    """Computing before a fork may leave locks that a child waits for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        child = os.fork()
    if child == 0:
        code = CRASHED
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@contextlib.contextmanager
def _endpoint() -> Iterator[str]:
    """The address of what describes anything in words that depend on the question alone."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            asked = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(0.05)
            text = f"A thing of {hashlib.sha256(asked).hexdigest()[:6]} parts."
            answer = json.dumps({"choices": [{"message": {"content": text}}]}).encode()
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
