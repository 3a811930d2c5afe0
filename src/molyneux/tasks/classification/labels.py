"""Which names photos are sorted under."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from molyneux.datasets.folders import PhotoFolder
from molyneux.datasets.names import name_key
from molyneux.errors import DataError
from molyneux.shapes import Labels
from molyneux.tasks.classification.features import PhotoFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """The names that photos are sorted under, each once."""

    known: tuple[str, ...]
    novel: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        """Known names, then novel ones: the columns of every score matrix here."""
        return self.known + self.novel

    def beside(self, names: Sequence[str]) -> "LabelSet":
        """With further known names, such as those of concepts taught before; a name that is there stays one.

        >>> LabelSet(known=("tench",), novel=("okapi",)).beside(("Okapi", "moongate")).known
        ('tench', 'moongate')
        """
        there = {name_key(name) for name in self.all}
        added = [name for key, name in _distinct(names).items() if key not in there]
        return LabelSet(known=(*self.known, *added), novel=self.novel)


def label_set(
    *,
    known: Sequence[str] | None = None,
    novel: Sequence[str] = (),
    names: Sequence[str] | None = None,
    concepts: Sequence[str] | None = None,
) -> LabelSet:
    """Known names are `names` or else the known folder's; novel names `concepts` or else the novel folder's.

    Names that differ in case only are one; the first spelling counts.

    Raises:
        DataError: if one of the known folder's classes is not in `names`, or a novel name is known already.

    >>> label_set(known=("tench",), names=("Tench", "missile", "missile"), novel=("okapi",)).all
    ('Tench', 'missile', 'okapi')
    """
    all_known = _distinct(known or () if names is None else names)
    for name in known or ():
        if name_key(name) not in all_known:
            raise DataError(f"the known folder's class {name!r} is not among the {len(all_known)} names given: add it")
    all_novel = _distinct(novel if concepts is None else concepts)
    for key, name in all_novel.items():
        if key in all_known:
            raise DataError(f"the novel name {name!r} is among the known names: leave it out of one of the two sets")
    return LabelSet(known=tuple(all_known.values()), novel=tuple(all_novel.values()))


def labels_among(photos: PhotoFolder | PhotoFeatures, names: Sequence[str]) -> Labels:
    """The photos' labels as indices into `names`, which hold each of the folder's classes in some case."""
    places = {name_key(name): index for index, name in enumerate(names)}
    table = torch.tensor([places[name_key(name)] for name in photos.names])
    own = photos.labels if isinstance(photos, PhotoFeatures) else torch.tensor([p.label for p in photos.photos])
    return table[own]


def _distinct(names: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name_key(name), " ".join(name.split()))
    return found
