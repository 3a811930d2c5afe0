"""All scores of a set of captions; what cannot be computed here says why instead of being a number."""

import importlib.util
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molyneux.errors import DataError
from molyneux.evaluation.caption_metrics import ORDERS, bleu, cider, rouge_l
from molyneux.evaluation.caption_tokens import tokenize, tokenize_all
from molyneux.evaluation.metrics import bootstrap_interval
from molyneux.evaluation.results import BOOTSTRAP_SEED, LEVEL, RESAMPLES

_PACKAGE = "pycocoevalcap"
_METEOR_JAR = "meteor-1.5.jar"
_SPICE_PARSER = "stanford-corenlp-3.6.0-models.jar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A number, or why there is none; never both."""

    value: float | None = None
    reason: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"value": self.value} if self.reason is None else {"value": None, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionScores:
    """How captions compare with what people wrote."""

    pictures: int
    bleu: tuple[float, float, float, float]
    """BLEU@1 to BLEU@4, in [0, 1]."""
    rouge_l: float
    """In [0, 1]."""
    cider: float
    """CIDEr-D in [0, 10]; papers often print it times 100."""
    cider_interval: tuple[float, float]
    """Of its mean over pictures, from a bootstrap; how rare phrases are stays as it is."""
    meteor: Score
    spice: Score

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "pictures": self.pictures,
            **{f"bleu_{order}": self.bleu[order - 1] for order in range(1, ORDERS + 1)},
            "rouge_l": self.rouge_l,
            "cider": self.cider,
            "cider_interval": list(self.cider_interval),
            "meteor": self.meteor.as_dict(),
            "spice": self.spice.as_dict(),
            "words": "lower case, Penn Treebank style, without punctuation; Molyneux's own tokenizer",
        }


def score_captions(
    captions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, java: bool = False
) -> CaptionScores:
    """Score sentences as people write them, by picture; `references` may hold more pictures, which do not count.

    With `java`, METEOR is computed by its authors' program where Java and pycocoevalcap are installed.

    Raises:
        DataError: if there are no captions, or a picture has no references.
    """
    missing = next((name for name in captions if not references.get(name)), None)
    if missing is not None:
        raise DataError(f"no references for {missing!r}: expected at least one sentence for each caption")
    own = [tokenize(caption) for caption in captions.values()]
    others = [tokenize_all(references[name]) for name in captions]
    scores = cider(own, others)
    return CaptionScores(
        pictures=len(own),
        bleu=bleu(own, others),
        rouge_l=float(rouge_l(own, others).mean()),
        cider=float(scores.mean()),
        cider_interval=bootstrap_interval(scores, BOOTSTRAP_SEED, LEVEL, RESAMPLES),
        meteor=meteor(own, others) if java else Score(reason="not computed: not asked for"),
        spice=spice(),
    )


def meteor(captions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
    """METEOR 1.5 in [0, 1], by its authors' Java program as pycocoevalcap packs it; else why not.

    Captions are words with spaces between them, as for `bleu`.

    Source: Denkowski & Lavie (2014), Meteor Universal.
    """
    reason = _lacking_java() or _lacking_package()
    if reason is not None:
        return Score(reason=reason)
    try:
        *_, value = meteor_answers(captions, references)
    except (OSError, ValueError) as error:
        return Score(reason=f"not computed: METEOR's Java program failed ({' '.join(str(error).split())})")
    return Score(value=value)


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


def spice() -> Score:
    """Why SPICE is not computed: its program downloads a parser (Stanford CoreNLP 3.6.0) the first time it runs.

    Source: Anderson et al. (2016), SPICE.
    """
    reason = _lacking_java() or _lacking_package()
    if reason is None and not _has_spice_parser():
        reason = f"not computed: SPICE's parser ({_SPICE_PARSER}, 0.4 GB) is not installed, and nothing is downloaded"
    return Score(reason=reason or "not computed: not supported yet; run pycocoevalcap's own SPICE on the captions")


def _lacking_java() -> str | None:
    return None if shutil.which("java") else "not computed: needs Java, and there is no 'java' on the PATH"


def _lacking_package() -> str | None:
    if importlib.util.find_spec(_PACKAGE) is None:
        return f"not computed: needs the package {_PACKAGE}; pip install 'molyneux[captions]'"
    return None


def _has_spice_parser() -> bool:
    return any(next(folder.rglob(_SPICE_PARSER), None) for folder in _folders("spice"))


def _folders(part: str) -> list[Path]:
    spec = importlib.util.find_spec(f"{_PACKAGE}.{part}")
    return [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]


def _meteor_command() -> list[str]:
    jar = next(iter(_folders("meteor")), Path()) / _METEOR_JAR
    return ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]


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
