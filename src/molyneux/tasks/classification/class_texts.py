"""Texts in place of names, as a request asks for them: descriptions in one of three forms, or prompts from pools."""

from collections.abc import Sequence
from pathlib import Path

from molyneux.concepts import Concept, read_descriptions
from molyneux.datasets.imagenet import described_classes
from molyneux.datasets.names import name_key
from molyneux.errors import ConfigError
from molyneux.tasks.classification.descriptions import definition_texts, descriptor_texts
from molyneux.tasks.classification.labels import LabelSet
from molyneux.tasks.classification.prompt_pools import read_pools, sampled_prompts
from molyneux.tasks.classification.prompts import ClassTexts, Ensemble


def class_texts(
    wanted: ClassTexts, labels: LabelSet, prompts: Sequence[str], ensemble: Ensemble
) -> dict[str, list[str]]:
    """For each name that does not stand in the prompts, its texts.

    With the naming 'symmetric', ImageNet's classes that the file does not describe have Molyneux's descriptions.

    Raises:
        ConceptError: if the descriptions cannot be read.
        DataError: if the pools cannot be read.
        ConfigError: if texts are given for something that is no name, one is missing, or the rule is not the form's.
    """
    if wanted.pools is not None:
        found = sampled_prompts(read_pools(wanted.pools), wanted.pool_prompts, wanted.pool_seed)
        return _spelled(found, labels.all, wanted.pools)
    if wanted.descriptions is None:
        return {}
    given = {name: list(texts) for name, texts in read_descriptions(wanted.descriptions).items()}
    own = _spelled(given, labels.all, wanted.descriptions)
    if wanted.naming == "descriptors":
        if ensemble != "logits":
            raise ConfigError(
                f"descriptors are scored by the mean of their cosines, not by {ensemble!r}: set the ensemble 'logits'"
            )
        return dict(zip(labels.all, descriptor_texts(labels.all, own), strict=True))
    bare = [name for name in labels.novel if name not in own]
    if bare:
        raise ConfigError(f"{wanted.descriptions} has no description of the new name {bare[0]!r}: add one")
    novel = [Concept(name, own[name]) for name in labels.novel]
    if wanted.naming == "asymmetric":
        return dict(zip(labels.novel, definition_texts((), novel, prompts=prompts), strict=True))
    shipped = {name_key(name): text for name, text in described_classes().items()}
    known = {name: shipped[name_key(name)] for name in labels.known if name_key(name) in shipped}
    known |= {name: own[name][0] for name in labels.known if name in own}
    texts = definition_texts(labels.known, novel, naming="symmetric", descriptions=known)
    return dict(zip(labels.all, texts, strict=True))


def _spelled(texts: dict[str, list[str]], names: Sequence[str], path: Path) -> dict[str, list[str]]:
    spelled = {name_key(name): name for name in names}
    stray = next((name for name in texts if name_key(name) not in spelled), None)
    if stray is not None:
        raise ConfigError(f"{path} has a text for {stray!r}, which is none of the {len(names)} names: take it out")
    return {spelled[name_key(name)]: found for name, found in texts.items()}
