"""METEOR and SPICE by their authors' Java programs, as pycocoevalcap packs them; where they cannot run, why not."""

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from molyneux.errors import ConfigError
from molyneux.tasks.captioning.record import Measured

_PACKAGE = "pycocoevalcap"
_METEOR_JAR = "meteor-1.5.jar"
_SPICE_JAR = "spice-1.0.jar"
_PARSER = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""What SPICE reads sentences with; pycocoevalcap would download it."""

NOT_ASKED = "not computed: not asked for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number, or why there is none; never both."""

    value: float | None = None
    reason: str | None = None
    each: tuple[float, ...] = ()
    """The same for each image alone."""

    @property
    def measured(self) -> Measured:
        """For JSON."""
        return Measured(value=self.value) if self.reason is None else Measured(value=None, reason=self.reason)


def java_version() -> str | None:
    """What the Java on the PATH calls itself; None if there is none that runs."""
    if shutil.which("java") is None:
        return None
    try:
        done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (done.stderr or done.stdout).splitlines()
    return lines[0].strip() if done.returncode == 0 and lines else None


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """METEOR 1.5 in [0, 1], over all captions together, not the mean of each; else why not.

    Captions are words with spaces between them, as for `bleu`.

    Source: Denkowski & Lavie (2014), Meteor Universal.
    """
    reason = _lacking()
    if reason is not None:
        return Score(reason=reason)
    try:
        *each, value = meteor_answers(captions, references)
    except (OSError, ValueError) as error:
        return Score(reason=f"not computed: METEOR's Java program failed ({' '.join(str(error).split())})")
    return Score(value=value, each=tuple(each))


def meteor_answers(captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """What METEOR's program says of each caption, then of all together.

    Raises:
        OSError: if it cannot be started, or ends early.
        ValueError: if it answers with something else than a number.
    """
    program = subprocess.Popen(
        _meteor_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    )
    try:
        counts = [_ask(program, "SCORE", *group, caption) for caption, group in zip(captions, references, strict=True)]
        first = _ask(program, "EVAL", *counts)
        return [float(first), *(float(_answer(program)) for _ in captions)]
    finally:
        program.kill()
        program.communicate()


def spice(captions: Sequence[str], references: Sequence[Sequence[str]], corenlp: Path | None = None) -> Score:
    """SPICE in [0, 1], the mean over images of the F-measure of what captions and references state; else why not.

    Its program reads sentences with Stanford CoreNLP 3.6.0 (0.4 GB), which nobody downloads here; `corenlp` is the
    folder it was unpacked into. Captions as for `meteor`.

    Raises:
        ConfigError: as `check_corenlp`.

    Source: Anderson et al. (2016), SPICE.
    """
    reason = _lacking()
    if reason is not None:
        return Score(reason=reason)
    if corenlp is None:
        return Score(reason="not computed: needs Stanford CoreNLP 3.6.0, which is not downloaded; give --corenlp-dir")
    check_corenlp(corenlp)
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "captions.json", Path(folder) / "scores.json"
        entries = [
            {"image_id": place, "test": caption, "refs": list(group)}
            for place, (caption, group) in enumerate(zip(captions, references, strict=True))
        ]
        asked.write_text(json.dumps(entries), encoding="utf-8")
        try:
            subprocess.run(
                [*_spice_command(corenlp), str(asked), "-out", str(answered), "-silent"],
                capture_output=True,
                text=True,
                check=True,
            )
            found = {entry["image_id"]: entry for entry in json.loads(answered.read_text(encoding="utf-8"))}
            each = tuple(float(found[place]["scores"]["All"]["f"]) for place in range(len(entries)))
        except subprocess.CalledProcessError as error:
            said = " ".join((error.stderr or error.stdout or "").split())[-300:]
            return Score(reason=f"not computed: SPICE's Java program failed ({said})")
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Score(reason=f"not computed: SPICE's Java program failed ({' '.join(repr(error).split())})")
    total = sum(each)
    if total != total:
        return Score(reason="not computed: SPICE's program answered with a value that is no number")
    return Score(value=total / len(each), each=each)


def check_corenlp(folder: Path) -> None:
    """Raise ConfigError unless the folder holds what SPICE reads sentences with."""
    for name in _PARSER:
        if not (Path(folder) / name).is_file():
            raise ConfigError(
                f"{folder} does not hold {name}: expected the unpacked Stanford CoreNLP 3.6.0 "
                "(stanford-corenlp-full-2015-12-09)"
            )


def _lacking() -> str | None:
    if java_version() is None:
        return "not computed: needs Java, and 'java -version' does not run"
    if importlib.util.find_spec(_PACKAGE) is None:
        return f"not computed: needs the package {_PACKAGE}; pip install 'molyneux[captions]'"
    return None


def _folder(part: str) -> Path:
    spec = importlib.util.find_spec(f"{_PACKAGE}.{part}")
    return Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()


def _meteor_command() -> list[str]:
    return ["java", "-Xmx2G", "-jar", str(_folder("meteor") / _METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm"]


def _spice_command(corenlp: Path) -> list[str]:
    # the jar's own class path wants the parser within the package; its cache, which newer Javas cannot open, is left
    home = _folder("spice")
    path = [home / _SPICE_JAR, home / "lib" / "*", *(Path(corenlp) / name for name in _PARSER)]
    return ["java", "-Xmx8G", "-cp", os.pathsep.join(map(str, path)), "edu.anu.spice.SpiceScorer"]


def _ask(program: "subprocess.Popen[str]", *parts: str) -> str:
    assert program.stdin is not None
    # bars part the parts, so none may hold one
    program.stdin.write(" ||| ".join(part.replace("|", " ") for part in parts) + "\n")
    program.stdin.flush()
    return _answer(program)


def _answer(program: "subprocess.Popen[str]") -> str:
    assert program.stdout is not None
    line = program.stdout.readline().strip()
    if not line:
        raise OSError("it ended without an answer")
    return line
