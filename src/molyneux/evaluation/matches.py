"""Scores of a model that judges pairs: every photo beside every text that stands for a name."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import frozen
from molyneux.backends.digest import weights_digest
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.photos import batches
from molyneux.errors import DataError, OutputError
from molyneux.evaluation.features import OnStep, checked_scores
from molyneux.files import write_bytes
from molyneux.shapes import Images

_PHOTOS_AT_ONCE = 8


def match_photos(
    model: Matcher,
    folder: PhotoFolder,
    texts: Sequence[Sequence[str]],
    on_step: OnStep | None = None,
    what: str = "photos",
) -> Float[Tensor, "n c"]:
    """For each photo and each name the log-probability of a match, averaged over the name's texts; on the CPU.

    All of a photo's texts share its patches, which are embedded once. A thousand names still are a thousand passes
    through the whole model for each photo.

    Raises:
        DataError: if a photo cannot be read.
        ModelError: if a text has more tokens than the model reads, or a score is not a number.
    """
    rows: list[Tensor] = []
    done = 0
    parts = batches(folder.paths, model.image_size, model.crop_fraction, _PHOTOS_AT_ONCE, fit=model.photo_fit)
    for images in parts:
        rows.append(match_names(model, images, texts))
        done += len(images)
        if on_step is not None:
            on_step(what, done, len(folder))
    return torch.cat(rows)


def match_names(model: Matcher, images: Images, texts: Sequence[Sequence[str]]) -> Float[Tensor, "n c"]:
    """`match_photos` for pictures at the model's own size."""
    if not texts:
        return torch.zeros(len(images), 0)
    flat = [text for group in texts for text in group]
    with torch.no_grad(), frozen(model.native):
        scores = model.match_scores(images.to(model.device), flat).float().cpu()
    groups = scores.split([len(group) for group in texts], dim=1)
    return checked_scores(model, torch.stack([group.mean(dim=1) for group in groups], dim=1))


def match_rows(
    model: Matcher,
    paths: Sequence[Path],
    texts: Sequence[str],
    *,
    on_step: OnStep | None = None,
    what: str = "photos",
    finished: Path | None = None,
) -> Float[Tensor, "n m"]:
    """For each photo and each text the log-probability of a match; on the CPU.

    With `finished`, photos that are done are kept in that file (a line that says what they are, then rows of fp32),
    and a later call with the same model, photos and texts does the others only.

    Raises:
        DataError: if a photo cannot be read, or there is nothing to score.
        ModelError: if a text has more tokens than the model reads, or a score is not a number.
        OutputError: if the file cannot be written, or its rows are of another model, other photos or texts.
    """
    if not paths or not texts:
        raise DataError(f"nothing to match: {len(paths)} photos and {len(texts)} texts; expected some of both")
    if finished is None:
        return torch.cat(list(_match_parts(model, paths, texts, 0, on_step, what)))
    rows = _FinishedRows(finished, _rows_key(model, paths, texts), len(texts))
    known = rows.read()
    try:
        parts = [known]
        for part in _match_parts(model, paths, texts, len(known), on_step, what):
            rows.append(part)
            parts.append(part)
    except OSError as error:
        raise OutputError(f"cannot write {finished}: {error.strerror or error}") from error
    return torch.cat(parts)


def _match_parts(
    model: Matcher, paths: Sequence[Path], texts: Sequence[str], done: int, on_step: OnStep | None, what: str
) -> Iterator[Tensor]:
    left = paths[done:]
    for images in batches(left, model.image_size, model.crop_fraction, _PHOTOS_AT_ONCE, fit=model.photo_fit):
        with torch.no_grad(), frozen(model.native):
            scores = model.match_scores(images.to(model.device), texts).float().cpu()
        yield checked_scores(model, scores)
        done += len(images)
        if on_step is not None:
            on_step(what, done, len(paths))


class _FinishedRows:
    """Rows of a score matrix in a file that grows; a row cut short by an interruption does not count."""

    def __init__(self, path: Path, key: str, columns: int) -> None:
        self._path, self._columns = Path(path), columns
        self._head = (json.dumps({"rows of": key, "columns": columns}) + "\n").encode()

    def read(self) -> Float[Tensor, "n m"]:
        """What is there, of whole rows; the file is made, or trimmed to them."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = self._path.read_bytes() if self._path.exists() else b""
            if content and not content.startswith(self._head):
                raise OutputError(f"{self._path} holds other rows (another model, photos or texts): remove it")
            body = content.removeprefix(self._head)
            body = body[: len(body) - len(body) % (4 * self._columns)]
            write_bytes(self._path, self._head + body)
        except OSError as error:
            raise OutputError(f"cannot use {self._path}: {error.strerror or error}") from error
        rows = np.frombuffer(body, dtype="<f4").reshape(-1, self._columns)
        return torch.from_numpy(rows.astype(np.float32))

    def append(self, rows: Tensor) -> None:
        """Add whole rows."""
        with self._path.open("ab") as file:
            file.write(rows.numpy().astype("<f4").tobytes())


def _rows_key(model: Matcher, paths: Sequence[Path], texts: Sequence[str]) -> str:
    digest = hashlib.sha256(weights_digest(model.native).encode())
    view = (model.image_size, model.crop_fraction, model.photo_fit, model.precision, model.long_text)
    sizes = [(str(path), path.stat().st_size if path.is_file() else -1) for path in paths]
    digest.update(json.dumps([view, sizes, list(texts)]).encode())
    return digest.hexdigest()
