"""The descriptions of ImageNet's classes: one for each, and none gives its class away."""

import re

from molyneux.datasets.imagenet import imagenet_descriptions, imagenet_names


def test_every_class_has_a_sentence_and_a_phrase_of_its_own() -> None:
    sentences, phrases = zip(*imagenet_descriptions(), strict=True)
    assert len(sentences) == len(set(sentences)) == 1000
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences)
    assert all(3 <= len(phrase.split()) <= 14 for phrase in phrases)


def test_no_description_holds_the_name_of_its_class() -> None:
    for name, texts in zip(imagenet_names(), imagenet_descriptions(), strict=True):
        whole = re.compile(rf"\b{re.escape(re.sub(r' [(].*', '', name.lower()))}s?\b")
        assert not any(whole.search(text.lower()) for text in texts), (name, texts)
