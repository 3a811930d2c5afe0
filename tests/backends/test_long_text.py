import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from molyneux.backends.long_text import POLICIES, TokenWindow, check_fits, check_policy, embed_each, parts
from molyneux.errors import ModelError

START, END = -1, -2


def window(limit: int) -> TokenWindow:
    """A tower that reads words, each by its length in letters."""
    return TokenWindow(
        model="words",
        limit=limit,
        tokens=lambda text: [START, *range(len(text.split())), END],
        words=lambda tokens: " ".join(f"word{token}" for token in tokens if token >= 0),
    )


def lengths(texts: list[str]) -> torch.Tensor:
    """A direction for each text, by how many words and letters it has."""
    return normalize(torch.tensor([[float(len(text.split())), float(len(text))] for text in texts]), dim=1)


def words(count: int, end: str = "") -> str:
    return " ".join(["word"] * count) + end


def test_a_text_that_just_fits_is_taken_as_it_is_under_every_policy():
    for policy in ("error", "truncate", "mean"):
        assert parts(words(4), window(6), policy) == (words(4),)


def test_the_refusal_says_how_long_the_text_is_and_what_would_be_lost():
    with pytest.raises(ModelError, match=r"has 9 tokens and 'words' reads 6: .* would be lost: 'word4 word5 word6'"):
        check_fits(words(7), window(6))


def test_a_text_to_be_cut_is_left_to_the_tokenizer():
    assert parts(words(9), window(6), "truncate") == (words(9),)


def test_neighbouring_sentences_are_joined_as_far_as_they_fit():
    text = "one two. three. four five six. seven"
    assert parts(text, window(6), "mean") == ("one two. three.", "four five six. seven")
    assert parts(text, window(5), "mean") == ("one two. three.", "four five six.", "seven")


def test_a_sentence_that_does_not_fit_goes_by_its_words():
    assert parts("one. two three four five six. seven", window(5), "mean") == (
        "one.",
        "two three four",
        "five six. seven",
    )


@given(
    text=st.lists(st.sampled_from(["a", "bb", "c.", "d!", "e;"]), min_size=1, max_size=40).map(" ".join),
    limit=st.integers(min_value=3, max_value=12),
)
def test_every_word_is_read_once_in_order_and_every_part_fits(text, limit):
    found = parts(text, window(limit), "mean")
    assert " ".join(found).split() == text.split()
    assert all(len(part.split()) + 2 <= limit for part in found)


def test_a_word_that_does_not_fit_alone_is_refused():
    with pytest.raises(ModelError, match="would be lost"):
        parts("word", window(2), "mean")


def test_the_mean_of_the_parts_has_unit_length_and_is_the_parts_mean():
    text = "one two. three. four five six. seven"
    (row,) = embed_each([text], window(6), "mean", lengths, {})
    expected = normalize(lengths(["one two. three.", "four five six. seven"]).mean(dim=0), dim=0)
    torch.testing.assert_close(row, expected)


def test_rows_come_back_in_order_and_are_read_once_for_each_policy():
    seen: list[str] = []

    def embed(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return lengths(texts)

    texts, known = [words(count) for count in (3, 1, 2, 3, 1)], {}
    rows = embed_each(texts, window(5), "error", embed, known)
    torch.testing.assert_close(rows, lengths(texts))
    embed_each(texts, window(5), "error", embed, known)
    assert sorted(seen) == sorted(set(texts))
    embed_each([words(9)], window(5), "truncate", embed, known)
    with pytest.raises(ModelError, match="would be lost"):
        embed_each([words(9)], window(5), "error", embed, known)


def test_many_texts_are_embedded_in_batches_of_about_equal_length():
    sizes: list[int] = []

    def embed(texts: list[str]) -> torch.Tensor:
        sizes.append(len(texts))
        assert max(map(len, texts)) - min(map(len, texts)) <= 5
        return lengths(texts)

    texts = [f"{'x' * (number % 10)}{number:03}" for number in range(250)]
    torch.testing.assert_close(embed_each(texts, window(5), "error", embed, {}), lengths(texts))
    assert sizes == [100, 100, 50]


def test_a_rule_that_there_is_not_is_refused():
    for policy in POLICIES:
        check_policy(policy)
    with pytest.raises(ModelError, match="long_text is 'cut': expected one of 'error', 'truncate', 'mean'"):
        check_policy("cut")
