"""Scores of a model that judges pairs: every photo beside every text that stands for a name."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from molyneux.backends.abilities import Matcher
from molyneux.backends.base import frozen
from molyneux.backends.digest import weights_digest
from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.photos import batches, photo_size
from molyneux.errors import DataError
from molyneux.files import GrowingFile
from molyneux.shapes import Images
from molyneux.tasks.classification.features import OnStep, checked_scores

_PHOTOS_AT_ONCE = 8
_PAIRS_AT_ONCE = 4000
"""About how many are judged between two times that finished rows are kept."""
_FORMAT = "rows-3"
"""Of kept rows; another, where what a row holds changes."""


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
    parts = batches(
        folder.paths,
        model.image_size,
        model.crop_fraction,
        _PHOTOS_AT_ONCE,
        fit=model.photo_fit,
        window=folder.window,
    )
    for images in parts:
        rows.append(match_names(model, images, texts))
        done += len(images)
        if on_step is not None:
            on_step(what, done, len(folder))
    return torch.cat(rows)


def match_names(model: Matcher, images: Images, texts: Sequence[Sequence[str]]) -> Float[Tensor, "n c"]:
    """`match_photos` for images at the model's own size."""
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
    wanted: Bool[Tensor, "n m"] | None = None,
    by_logit: bool = False,
    on_step: OnStep | None = None,
    what: str = "photos",
    finished: Path | None = None,
) -> Float[Tensor, "n m"]:
    """For each photo and each text the log-probability of a match, or its logit; on the CPU.

    Photos are read at the shape that the model wants them in (`Matcher.photo_shape`), those of one shape together.
    With `wanted`, only these pairs are judged; the others have -inf.

    With `finished`, photos that are done are kept in a file in that folder (rows of fp32), and a later call with the
    same weights, photos, texts and pairs does the others only.

    Raises:
        DataError: if a photo cannot be read, or there is nothing to score.
        ModelError: if a text has more tokens than the model reads, or a score is not a number.
        OutputError: if the file cannot be read or written.
    """
    if not paths or not texts:
        raise DataError(f"nothing to match: {len(paths)} photos and {len(texts)} texts; expected some of both")
    shapes = [model.photo_shape(*photo_size(path)) for path in paths]
    order = sorted(range(len(paths)), key=lambda row: (shapes[row] or (0, 0), row))
    kept, parts = None, []
    done = 0
    if finished is not None:
        key = _rows_key(model, paths, texts, wanted, by_logit)
        kept = GrowingFile(finished / f"{key}.rows", f"scores of {len(texts)} texts for each of {len(paths)} photos")
        body = b"".join(kept.read())
        parts.append(torch.from_numpy(np.frombuffer(body, dtype="<f4").astype(np.float32)).reshape(-1, len(texts)))
        done = len(parts[0])
    for shape, rows in _groups(order[done:], shapes, max(1, min(_PHOTOS_AT_ONCE, _PAIRS_AT_ONCE // len(texts)))):
        some = None if wanted is None else wanted[rows]
        part = _match_part(model, [paths[row] for row in rows], shape, texts, some, by_logit)
        if kept is not None:
            kept.add(part.numpy().astype("<f4").tobytes())
        parts.append(part)
        done += len(rows)
        if on_step is not None:
            on_step(what, done, len(paths))
    scores = torch.empty(len(paths), len(texts))
    scores[order] = torch.cat(parts)
    return scores


def _groups(
    order: Sequence[int], shapes: Sequence[tuple[int, int] | None], count: int
) -> Iterator[tuple[tuple[int, int] | None, list[int]]]:
    """At most `count` photos of one shape at a time."""
    for shape, same in groupby(order, key=lambda row: shapes[row]):
        rows = list(same)
        for start in range(0, len(rows), count):
            yield shape, rows[start : start + count]


def _match_part(
    model: Matcher,
    paths: Sequence[Path],
    shape: tuple[int, int] | None,
    texts: Sequence[str],
    wanted: Bool[Tensor, "n m"] | None,
    by_logit: bool,
) -> Float[Tensor, "n m"]:
    images = torch.cat(list(batches(paths, shape or model.image_size, model.crop_fraction, fit=model.photo_fit)))
    with torch.no_grad(), frozen(model.native):
        if wanted is None:
            judged = model.match_scores(images.to(model.device), texts, by_logit=by_logit)
            return checked_scores(model, judged.float().cpu())
        scores = torch.full((len(paths), len(texts)), -torch.inf)
        for row, columns in enumerate(wanted):
            some = [text for text, is_wanted in zip(texts, columns.tolist(), strict=True) if is_wanted]
            if some:
                judged = model.match_scores(images[row : row + 1].to(model.device), some, by_logit=by_logit)
                scores[row, columns] = checked_scores(model, judged.float().cpu())[0]
        return scores


def _rows_key(
    model: Matcher, paths: Sequence[Path], texts: Sequence[str], wanted: Tensor | None, by_logit: bool
) -> str:
    digest = hashlib.sha256(weights_digest(model.native).encode())
    view = (model.image_size, model.crop_fraction, str(model.photo_fit), model.precision, model.long_text)
    sizes = [(str(path), path.stat().st_size) for path in paths]
    digest.update(json.dumps([_FORMAT, by_logit, view, sizes, list(texts)]).encode())
    if wanted is not None:
        digest.update(wanted.numpy().tobytes())
    return digest.hexdigest()[:32]
