"""A model card: what a saved model is, what it was taught, what that gained and cost; Markdown for people and hubs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from molyneux.citations import MEANS_ENTRIES, METHOD, cited_family, entries, lineage_entries
from molyneux.files import write_text
from molyneux.records import ConceptResult, Lineage, PackRecord, Pair, RunSettings, TeachResult

CARD = "README.md"

LICENCES = {
    "mini": "EfficientNet-Lite0 and all-MiniLM-L6-v2 are published under Apache 2.0; so is Molyneux's head. The "
    "data that the towers were trained on (ImageNet, web texts) has terms of its own.",
    "drawn": "Trained by Molyneux on its own drawings, under Apache 2.0 as Molyneux itself.",
}
"""By family, where they are known."""

_UNKNOWN = (
    "The base model's licence holds for this model too, and the terms of the data that it was trained on: see the base "
    "model's own card. No photo was used in teaching, unless the recipe says so."
)
_CONTROLS = {
    "noise": "the same lesson on noise",
    "shuffled": "the same lesson on another concept's description",
    "description_prompt": "no lesson, the description in place of the name",
}
_LIMITS = (
    "For research only: no medical device, and not tested for decisions about people.",
    "A new name costs a little of what the model knew, and captures some photos of other things.",
    "It chooses among the names that it is given, whether one fits or not.",
    "It has what is wrong or offensive in the data that its base model was trained on.",
)


def write_card(
    folder: Path, lineage: Lineage, settings: RunSettings | None = None, scores: TeachResult | None = None
) -> None:
    """Write `README.md` into a saved model's folder; with the settings and scores of its run, recipe and numbers too.

    Raises:
        OutputError: if it cannot be written.
    """
    write_text(folder / CARD, card(lineage, settings, scores))


def card(lineage: Lineage, settings: RunSettings | None = None, scores: TeachResult | None = None) -> str:
    """The card as text: a header that hubs read, then Markdown."""
    parts = [*_about(lineage), *_recipe(settings), *_numbers(scores), *_end(lineage.family, lineage_entries(lineage))]
    return _header(lineage) + "\n\n".join(parts) + "\n"


def packs_card(packs: Sequence[PackRecord], name: str) -> str:
    """The card of a repository with packs for one model."""
    base = packs[0].base
    on_hub = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)", base.name)
    names = ", ".join(plain(one.name) for one in packs)
    lines, family = [_pack_line(one) for one in packs], cited_family(base.name)
    return _yaml(on_hub.group(1) if on_hub else None, None, ["molyneux", "knowledge-transfer", "packs"]) + (
        f"# Packs for {plain(base.name)}: {names}\n\n"
        f"What `{base.name}` learned about each concept, by Molyneux, from words: two vectors each, which are added to "
        f"its last layer.\nThe model itself is not here. The packs fit the weights with the SHA-256 `{base.weights}` "
        "alone, and no others.\n\n"
        f"## Concepts\n\n{chr(10).join(lines)}\n\n"
        f'## Use\n\n```python\nimport molyneux\n\nmodel = molyneux.load("hf:{name}")  # {base.name} with all packs\n'
        f"```\n\n```bash\nmolyneux apply hf:{name} --model {base.name} --out FOLDER\n```\n\n"
        + "\n\n".join(_end(family, (*entries(family), *MEANS_ENTRIES["edit"])))
        + "\n"
    )


def _pack_line(pack: PackRecord) -> str:
    told = f"- **{plain(pack.name)}**: {' / '.join(plain(text) for text in pack.descriptions) or 'taught from images'}"
    recall, false = pack.scores.get("recall"), pack.scores.get("false_positives")
    if isinstance(recall, int | float):
        told += f" Target recall {100 * recall:.1f} % on {pack.scores.get('photos')} photos"
        told += f"; false positives {100 * false:.1f} %." if isinstance(false, int | float) else "."
    return told


def published(text: str, name: str) -> str:
    """A saved model's card as it is shown in a repository of the hub."""
    return text.replace('molyneux.load("FOLDER")  # where this card lies', f'molyneux.load("hf:{name}")')


def plain(text: str) -> str:
    r"""Text that Markdown and HTML show as it is.

    >>> plain("a <b> | *c*")
    'a &lt;b&gt; \\| \\*c\\*'
    """
    safe = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(safe.split()))


def _header(lineage: Lineage) -> str:
    on_hub = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)", lineage.base)
    return _yaml(
        on_hub.group(1) if on_hub else None,
        "apache-2.0" if lineage.family in LICENCES else None,
        ["molyneux", "knowledge-transfer", "vision-language"],
    )


def _yaml(base: str | None, licence: str | None, tags: list[str]) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=base,
        library_name="molyneux",
        license=licence,
        pipeline_tag="zero-shot-image-classification",
        tags=tags,
    )
    return f"---\n{data.to_yaml()}\n---\n\n"


def _about(lineage: Lineage) -> Iterator[str]:
    names = ", ".join(plain(one.name) for one in lineage.concepts)
    yield f"# {plain(lineage.base)}, taught {names}" if names else f"# {plain(lineage.base)}"
    what = f"A copy of `{lineage.base}`" + (f" ({lineage.family})" if lineage.family != lineage.base else "")
    if not names:
        yield f"{what}, saved by Molyneux. It was taught nothing."
        return
    yield f"{what} that was taught new names from descriptions, by Molyneux. Its size and format are those of the base."
    lines = [
        f"- **{plain(one.name)}**: {' / '.join(plain(text) for text in one.descriptions)}" for one in lineage.concepts
    ]
    yield "## Concepts\n\n" + "\n".join(lines)
    new = " and ".join(repr(one.name) for one in lineage.concepts[-2:])
    yield (
        '## Use\n\n```python\nimport molyneux\n\nmodel = molyneux.load("FOLDER")  # where this card lies\n'
        f'print(model.recognise("photo.jpg"))  # among ImageNet\'s names and the new ones, such as {new}\n```'
    )


def _recipe(settings: RunSettings | None) -> Iterator[str]:
    if settings is None:
        return
    teaching = settings.teaching
    edited = teaching.get("loss") == "edit"
    images = settings.images_from or ("none" if edited else "inversion")
    images = images if images in ("none", "inversion") else "other images than inversion's"
    edit = teaching.get("edit")
    strength = edit.get("strength") if edited and isinstance(edit, dict) else teaching.get("strength")
    lesson = "an edit in closed form" if edited else f"loss `{teaching.get('loss')}`"
    facts = [
        f"lesson: {lesson}, strength {strength}",
        f"images: {images}; seed {settings.seed}",
    ]
    if settings.control is not None:
        facts.append(f"**This is a control**: it was taught on `{settings.control}`, not on the description")
    facts.append("`config.yaml` of its run holds all settings; `molyneux teach --config` takes it")
    yield "## Recipe\n\n" + "\n".join(f"- {fact}" for fact in facts)


def _numbers(scores: TeachResult | None) -> Iterator[str]:
    if scores is None:
        yield "## Numbers\n\nNone were measured when it was saved. `molyneux evaluate` measures it on photos."
        return
    rows = [row for name, one in scores.concepts.items() for row in _rows(name, one, scores.controls)]
    rows += _line("known names alone", "known accuracy", scores.known_accuracy)
    rows += _line("known and new names", "known accuracy", scores.known_accuracy_joint)
    if rows:
        counts, protocol = scores.protocol.counts, scores.protocol
        table = "\n".join(["| | | before | after |", "|---|---|---|---|", *rows])
        kind = protocol.novel_images or "photos"
        yield (
            f"## Numbers\n\n{table}\n\nOn {counts.novel_photos} {kind} of new and {counts.known_photos} of known "
            f"classes, among {counts.known_names} known names; prompts: {len(protocol.prompts)}; score: "
            f"{protocol.score}; {protocol.preprocessing}. Target recall: the share of a concept's photos "
            "whose best name is its own. False positives: the share of known photos whose best name is its own. What a "
            "control reaches, the description did not teach."
        )
    else:
        yield "## Numbers\n\nIt was not measured on photos. `molyneux evaluate` does that."
    for name, found in scores.text_only.items():
        rank = found.median_rank
        if rank.before is not None and rank.after is not None:
            yield (
                f"On fresh synthetic images, which are no photos, the median rank of {plain(name)} moved from "
                f"{rank.before + 1:g} to {rank.after + 1:g} (1 is best)."
            )


def _rows(name: str, found: ConceptResult, controls: Mapping[str, Mapping[str, ConceptResult]]) -> list[str]:
    rows = _line(plain(name), "target recall", found.target_recall)
    rows += _line(plain(name), "false positives", found.false_positive_rate)
    for control, others in controls.items():
        if name in others:
            label = f"control: {_CONTROLS.get(control, control)}"
            rows += _line(plain(name), plain(label), others[name].target_recall)
    return rows


def _line(name: str, what: str, pair: Pair) -> list[str]:
    if not pair.known:
        return []
    cells = ("" if value is None else f"{100 * value:.1f} %" for value in (pair.before, pair.after))
    return [f"| {name} | {what} | {' | '.join(cells)} |"]


def _end(family: str, cited: Sequence[str]) -> Iterator[str]:
    yield "## Limits\n\n" + "\n".join(f"- {text}" for text in _LIMITS)
    yield f"## Licences\n\n{LICENCES.get(family, _UNKNOWN)}"
    yield f"## Citation\n\n```bibtex\n{chr(10).join((METHOD, *dict.fromkeys(cited)))}\n```"
