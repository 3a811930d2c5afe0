"""What `molyneux recognise` prints: the best names of each photo. Importing this needs no torch."""

from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from molyneux.records import Compared, Count, Number, Record, Share, Texts, data_frame

NONE = "none of these"

_SHOWN = 20


class Answer(NamedTuple):
    """A name for a photo; in JSON a list of the three."""

    name: str
    score: Number
    """What the protocol's `score` says."""
    probability: Share
    """What the protocol's `probability` says."""


class Answers(Record):
    """One model's answers for one photo."""

    best: tuple[Answer, ...]
    """Best first."""
    none_of_these: bool | None
    """Whether even the best name is less probable than the protocol's limit; None without a limit."""

    @property
    def name(self) -> str:
        """The best name, or 'none of these'."""
        return NONE if self.none_of_these else self.best[0].name


class Recognised(Record):
    """One photo."""

    photo: str
    """Its path as it was given; 'image 1' for one that has none."""
    before: Answers | None = None
    after: Answers

    @property
    def name(self) -> str:
        """The model's best name, or 'none of these'."""
        return self.after.name

    def __str__(self) -> str:
        return f"{self.photo}: {said(self)}"

    __repr__ = __str__


class Unreadable(Record):
    """A photo that could not be read."""

    photo: str
    reason: str


class Limit(Record):
    """When a model says 'none of these'."""

    probability: Share | None
    """Less than this is 'none of these'; None where no limit could be set."""
    texts: Count
    """How many descriptions it was set from."""


class RecogniseProtocol(Record):
    """All that is needed to say what the answers mean."""

    prompts: Texts
    ensemble: str
    names: Texts
    """All names that could be answered."""
    taught: Texts
    """Those among them that the model was taught."""
    score: str
    probability: str
    limit: Limit
    limit_before: Limit | None = None
    """The base's, where there is one."""
    limit_means: str
    use: str = ""
    """What the answers are not to be used for, where the model is medical."""
    notes: Texts = ()
    """What there is to say of the files: those left out, and 16-bit images that are shown nearly black."""


class Recognition(Compared):
    """The answers for all photos, in order; `before` is set where there is a base."""

    protocol: RecogniseProtocol
    photos: tuple[Recognised, ...]
    unreadable: tuple[Unreadable, ...]

    @model_validator(mode="after")
    def _some(self) -> "Recognition":
        if not self.photos:
            raise PydanticCustomError("whole", "at least one photo")
        return self

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, place: int) -> Recognised:
        return self.photos[place]

    def __iter__(self) -> Iterator[Recognised]:  # type: ignore[override]
        return iter(self.photos)

    def to_dict(self) -> dict[str, Any]:
        """The same as `as_dict`: plain data for JSON."""
        return self.as_dict()

    def to_pandas(self) -> Any:
        """A pandas `DataFrame` with a row for each photo, model and name.

        Raises:
            ConfigError: if pandas is not installed.
        """
        rows = [
            {"photo": one.photo, "when": when, "place": place, **answer._asdict(), "none_of_these": found.none_of_these}
            for one in self.photos
            for when, found in (("before", one.before), ("after", one.after))
            if found is not None
            for place, answer in enumerate(found.best, start=1)
        ]
        return data_frame(rows)

    def __str__(self) -> str:
        lines = [str(one) for one in self.photos[:_SHOWN]]
        if len(self.photos) > _SHOWN:
            lines.append(f"... {len(self.photos) - _SHOWN} photos more")
        return "\n".join([*lines, *(f"{one.photo}: {one.reason}" for one in self.unreadable)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ("before", "after") if self.base is not None else ("after",)
        head = "".join(f"<th>{column if len(columns) > 1 else 'best names'}</th>" for column in columns)
        rows = []
        for one in self.photos[:_SHOWN]:
            cells = "".join(f"<td>{_listed(getattr(one, column))}</td>" for column in columns)
            rows.append(f"<tr><th>{escape(one.photo)}</th>{cells}</tr>")
        more = f"<p>{len(self.photos) - _SHOWN} photos more</p>" if len(self.photos) > _SHOWN else ""
        return f"<table><thead><tr><th>photo</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}"


def said(photo: Recognised) -> str:
    """The answers for one photo as a line: the best names with their probabilities, and the best one before.

    >>> answers = Answers(best=(Answer("cup", 0.3, 0.62), Answer("bowl", 0.2, 0.1)), none_of_these=False)
    >>> said(Recognised(photo="1.jpg", after=answers))
    'cup 62 %, bowl 10 %'
    """
    text = ", ".join(f"{name} {100 * share:.0f} %" for name, _, share in photo.after.best)
    if photo.after.none_of_these:
        text = f"{NONE} ({text})"
    return text if photo.before is None else f"{text}; before: {photo.before.name}"


def _listed(answers: Answers) -> str:
    first = f"<i>{NONE}</i><br>" if answers.none_of_these else ""
    return first + "<br>".join(f"{escape(name)} {100 * share:.0f} %" for name, _, share in answers.best)
