"""Numbers in plain language: how they are written, and what may be claimed from them."""

import math
from collections.abc import Callable, Mapping, Sequence

from molyneux.images.choices import CONTROLS, SOURCES, taught_controls
from molyneux.records import ConceptResult, RankPair, SharePair, ShownPhotos, TextOnly
from molyneux.report.folder import NO_RESULT, Taught

SPACE = "\u00a0"
NOT_COMPUTED = "not computed"


def percent(share: float, digits: int = 1) -> str:
    r"""A share as a percentage.

    >>> percent(0.712)
    '71.2\xa0%'
    """
    return f"{100 * share:.{digits}f}{SPACE}%"


def plain(value: float, digits: int = 1) -> str:
    """A number with thousands separated, and decimals only where it has any.

    >>> plain(1000.0), plain(36.5)
    ('1,000', '36.5')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.{digits}f}"


def place(rank: float) -> str:
    """A rank of a record, which counts from 0, as people count.

    >>> place(0.0), place(36.5)
    ('1', '37.5')
    """
    return plain(rank + 1)


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, and a true minus; what rounds to nothing has none.

    >>> signed(-0.2), signed(43.3), signed(0.001)
    ('−0.2', '+43.3', '0.0')
    """
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def duration(seconds: float) -> str:
    r"""A time as people say it.

    >>> duration(4.23), duration(95.0), duration(7260.0)
    ('4.2\xa0s', '1\xa0min 35\xa0s', '2\xa0h 1\xa0min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def counted(share: float | None, total: int | None) -> int | None:
    """How many of `total` a share is; None where it is no whole number of them, or something is missing.

    >>> counted(13 / 30, 30), counted(0.4, 7), counted(0.4, None)
    (13, None, None)
    """
    if share is None or not total:
        return None
    number = round(share * total)
    return number if abs(share * total - number) <= max(0.01, 0.0005 * total) else None


def could_be_chance(one: int, other: int, total: int) -> bool:
    """Whether two counts out of the same `total` are too close to be told apart.

    They are if fewer than six differ (six photos all changing one way are the fewest that a two-sided
    sign test at 5 % can tell from chance, 2 · 0.5⁶ = 0.03), or if the shares lie within 1.96 standard
    errors of a difference of independent shares, which is cautious for the same photos.

    >>> could_be_chance(3, 0, 30), could_be_chance(13, 1, 30), could_be_chance(140, 130, 300)
    (True, False, True)
    """
    if abs(one - other) < 6:
        return True
    first, second = one / total, other / total
    return abs(first - second) <= 1.96 * math.sqrt((first * (1 - first) + second * (1 - second)) / total)


def verdict(
    outcome: ConceptResult,
    known_accuracy: SharePair,
    known_photos: int | None,
    controls: Mapping[str, ConceptResult],
    *,
    teaching: str,
    several: bool = False,
    is_control: bool = False,
    drawn: bool = False,
) -> tuple[str, ...]:
    """The sentences that the numbers support: recognition, price, comparison with the controls.

    `drawn` tells that recognition was measured on drawings, so that they are never called photos.
    """
    sentences = (
        recognition(outcome, teaching, several=several, drawn=drawn),
        price(known_accuracy, outcome, known_photos, several=several),
        comparison(outcome, controls, several=several, is_control=is_control),
    )
    return tuple(sentence for sentence in sentences if sentence)


def recognition(outcome: ConceptResult, teaching: str, *, several: bool = False, drawn: bool = False) -> str:
    """In how many photos, or drawings, the model now finds the concept, and in how many before.

    >>> found = {"target_recall": SharePair(before=0.0, after=13 / 30), "photos": 30}
    >>> recognition(NO_RESULT.model_copy(update=found), "Taught from its description alone")
    'Taught from its description alone, the model now recognises it in 13 of 30 real photos (before: 0).'
    """
    recall, it = outcome.target_recall, "them" if several else "it"
    kind = "drawing" if drawn else "real photo"
    if recall.after is None:
        return f"Recognition in {kind}s was {NOT_COMPUTED}{_because(recall.why)}."
    now, was = counted(recall.after, outcome.photos), counted(recall.before, outcome.photos)
    photos = kind if outcome.photos == 1 else f"{kind}s"
    if now is None:
        before = f"before: {percent(recall.before)}" if recall.before is not None else _UNMEASURED
        return f"{teaching}, the model recognises {it} in {percent(recall.after)} of the {kind}s ({before})."
    many = f"{now or 'none'} of {outcome.photos:,} {photos}"
    if was is None:
        return f"{teaching}, the model recognises {it} in {many} ({_UNMEASURED})."
    if now == was == 0:
        return f"{teaching}, the model recognises {it} in {many}; nor did it before.{_rank_rose(outcome.median_rank)}"
    if now == was:
        return f"{teaching}, the model recognises {it} in {many}, as many as before."
    if now < was:
        return f"{teaching}, the model recognises {it} in {many}, fewer than before ({was})."
    chance = (
        f" So small a change, {now - was} of {outcome.photos:,}, could be chance."
        if could_be_chance(now, was, outcome.photos)
        else ""
    )
    return f"{teaching}, the model now recognises {it} in {many} (before: {was}).{chance}"


def price(known_accuracy: SharePair, outcome: ConceptResult, known_photos: int | None, *, several: bool = False) -> str:
    """What it costs: known accuracy, and other photos now mistaken for the concept.

    >>> rate = {"false_positive_rate": SharePair(before=0.0, after=0.002)}
    >>> price(SharePair(before=0.712, after=0.71), NO_RESULT.model_copy(update=rate), 1000).replace(SPACE, " ")
    'Price: known accuracy 71.2 % → 71.0 %; 2 of 1,000 other photos are now mistaken for it (before: 0).'
    """
    parts = (_accuracy(known_accuracy), _mistaken(outcome, known_photos, several=several))
    said = "; ".join(part for part in parts if part)
    return f"Price: {said}." if said else f"Price: {NOT_COMPUTED}{_because(known_accuracy.why)}."


def comparison(
    outcome: ConceptResult, controls: Mapping[str, ConceptResult], *, several: bool = False, is_control: bool = False
) -> str:
    """How the same teaching fares where it should not work.

    Silent in a run that is itself a control, and where recognition was not measured.

    >>> ours, theirs = (
    ...     NO_RESULT.model_copy(update={"target_recall": SharePair(after=share), "photos": 30}) for share in (0.4, 0.5)
    ... )
    >>> comparison(ours, {"noise": theirs}).partition(":")[0]
    'The same teaching on noise does at least as well (15 of 30)'
    """
    if is_control or outcome.target_recall.after is None:
        return ""
    measured = {name: control for name, control in controls.items() if control.target_recall.known}
    said = [_against(name, outcome, control) for name, control in measured.items()]
    if not taught_controls().keys() & measured.keys():
        run = "was run for all of them" if several else "was run"
        said.append(f"No control {run}, so what the description contributes is not known.")
    return " ".join(said)


def from_text(found: TextOnly) -> str:
    """What can be told without photos."""
    rank = found.median_rank
    if rank.before is None or rank.after is None:
        return ""
    moved = f"its name moved from median rank {place(rank.before)} to {place(rank.after)}"
    beside = [
        f"{place(control.median_rank.after)} on {control_phrase(name)}"
        for name, control in found.controls.items()
        if control.median_rank.after is not None
    ]
    if beside:
        moved = f"{moved}; after the same teaching it has {' and '.join(beside)}"
    only = "That shows only whether teaching took hold, not how it works on photos."
    return f"On fresh synthetic images {moved}. {only}"


def exhibits(shown: ShownPhotos, concept: str) -> str:
    """What happened to a concept's name on the photos of it that the report shows; '' without such photos.

    >>> from molyneux.records import Place, ShownAnswers, ShownPhoto
    >>> said = {
    ...     rank: ShownAnswers(best=(("cup", 0.2, 0.1),), concepts={"okapi": Place(rank=rank, probability=0.1)})
    ...     for rank in (6, 1)
    ... }
    >>> photo = ShownPhoto(
    ...     photo="1.jpg", shows="okapi", thumbnail="1.jpg", before=said[6], after=said[1], controls={}
    ... )
    >>> exhibits(ShownPhotos(version=1, names=999, probability="", photos=(photo,)), "okapi")
    'In the photo below, its name moved from place 6 of 999 to place 1. One photo is no measure.'
    """
    own = [one for one in shown.photos if one.shows == concept]
    if not own:
        return ""
    ranks = [(one.before.concepts[concept].rank, one.after.concepts[concept].rank) for one in own]
    if len(own) == 1:
        (was, now), *_ = ranks
        moved = f"moved from place {was:,} of {shown.names:,} to place {now:,}" if was != now else f"stays at {now:,}"
        return f"In the photo below, its name {moved}. One photo is no measure."
    first = [sum(rank[when] == 1 for rank in ranks) for when in (0, 1)]
    return (
        f"In the {len(own)} photos of it below, its name comes first in {first[1]} (before: {first[0]}). "
        "So few photos are no measure."
    )


def taught_on(concepts: Sequence[Taught]) -> str:
    """What the teaching was made of, as the beginning of a sentence."""
    images = [concept.images for concept in concepts if concept.images is not None]
    sources = {found.source for found in images}
    strangers = [
        found
        for concept, found in zip(concepts, (c.images for c in concepts), strict=True)
        if found is not None and SOURCES[found.source].uses_descriptions and found.depicted not in ("", concept.name)
    ]
    if strangers:
        what = "images" if SOURCES[strangers[0].source].has_images else "description"
        if len(concepts) == 1:
            return f"Taught on the {what} of “{strangers[0].depicted}” instead"
        return f"Taught on one another’s {what if what == 'images' else 'descriptions'}"
    return SOURCES[sources.pop()].label if len(sources) == 1 else "After teaching"


def control_label(name: str) -> str:
    """The row of a control in a table."""
    return CONTROLS[name].label if name in CONTROLS else name


def control_phrase(name: str) -> str:
    """What a control is taught on, within a sentence."""
    return CONTROLS[name].phrase if name in CONTROLS else f"“{name}”"


def together(outcomes: Sequence[ConceptResult]) -> ConceptResult:
    """All concepts as one: photos added up, where every concept has them; false positives averaged."""
    total = sum(outcome.photos for outcome in outcomes)
    reason = next((outcome.target_recall.reason for outcome in outcomes if outcome.target_recall.reason), NOT_COMPUTED)

    def pair(values: Callable[[ConceptResult], SharePair], weights: Sequence[int]) -> SharePair:
        before, after = (
            _mean([getattr(values(outcome), when) for outcome in outcomes], weights) for when in ("before", "after")
        )
        return SharePair(after=None, reason=reason) if after is None else SharePair(before=before, after=after)

    return NO_RESULT.model_copy(
        update={
            "target_recall": pair(lambda outcome: outcome.target_recall, [outcome.photos for outcome in outcomes]),
            "false_positive_rate": pair(lambda outcome: outcome.false_positive_rate, [1] * len(outcomes)),
            "photos": total,
        }
    )


def controls_together(concepts: Sequence[Taught]) -> dict[str, ConceptResult]:
    """Each control over all concepts, where it was run for every one of them."""
    names = [name for name in concepts[0].controls if all(name in concept.controls for concept in concepts)]
    return {name: together([concept.controls[name] for concept in concepts]) for name in names}


_UNMEASURED = "before teaching: not measured"


def _because(reason: str) -> str:
    return f": {reason.rstrip('.')}" if reason else ""


def _rank_rose(rank: RankPair) -> str:
    if rank.before is None or rank.after is None or rank.after >= rank.before:
        return ""
    moved = f"from median rank {place(rank.before)} to {place(rank.after)}"
    return f" Its name did rise on them, {moved}."


def _accuracy(known: SharePair) -> str:
    if known.after is None:
        return f"known accuracy {NOT_COMPUTED}{_because(known.why)}" if known.why else ""
    if known.before is None:
        return f"known accuracy {percent(known.after)} ({_UNMEASURED})"
    if percent(known.before) == percent(known.after):
        return f"known accuracy unchanged at {percent(known.after)}"
    return f"known accuracy {percent(known.before)} → {percent(known.after)}"


def _mistaken(outcome: ConceptResult, known_photos: int | None, *, several: bool) -> str:
    rate = outcome.false_positive_rate
    if rate.after is None:
        return ""
    if several:
        before = f" (before: {percent(rate.before)})" if rate.before is not None else ""
        return f"on average {percent(rate.after)} of other photos are now mistaken for each of them{before}"
    now, was = counted(rate.after, known_photos), counted(rate.before, known_photos)
    if now is None or known_photos is None:
        before = f" (before: {percent(rate.before)})" if rate.before is not None else ""
        return f"{percent(rate.after)} of other photos are now mistaken for it{before}"
    verb = "is" if now in (0, 1) else "are"
    before = f" (before: {was:,})" if was is not None else ""
    own = counted(outcome.target_recall.after, outcome.photos)
    more = ", more than it recognises of its own" if own is not None and now > own else ""
    many = f"{f'{now:,}' if now else 'none'} of {known_photos:,} other photos"
    return f"{many} {verb} now mistaken for it{before}{more}"


def _against(name: str, outcome: ConceptResult, control: ConceptResult) -> str:
    ours = outcome.target_recall.after
    theirs = control.target_recall.after
    assert ours is not None
    assert theirs is not None
    total = control.photos
    mine, its = counted(ours, outcome.photos), counted(theirs, total)
    same_photos = mine is not None and its is not None and total == outcome.photos
    amount = f"{its or 'none'} of {total:,}" if its is not None else percent(theirs)
    if name in CONTROLS and not CONTROLS[name].images:
        asked = "With no teaching at all, asking for the description instead of the name"
        return f"{asked} does at least as well ({amount})." if theirs >= ours > 0 else f"{asked}: {amount}."
    what = control_phrase(name)
    if theirs >= ours and theirs > 0:
        no_evidence = "no evidence that the description taught anything"
        return f"The same teaching on {what} does at least as well ({amount}): {no_evidence}."
    if theirs < ours and same_photos and could_be_chance(mine or 0, its or 0, total or 1):
        return f"The same teaching on {what}: {amount}, a difference that could be chance."
    return f"The same teaching on {what}: {amount}."


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    found = [value * weight for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(found) / sum(weights) if found and len(found) == len(values) else None
