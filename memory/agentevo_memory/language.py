"""What the memory reads in a text: words to search by, and the marks that make two texts differ.

English words are stemmed; Chinese, Japanese and Korean text is cut into single characters and
pairs. Two texts count as the same only if nothing differs but case, punctuation, articles and the
spelling of contractions: numbers, negations, names, symbols and the order of words always count.
"""

import hashlib
import re
from functools import lru_cache
from typing import Protocol

_CJK = "぀-ヿ㐀-䶿一-鿿豈-﫿가-힯"
_WORD = re.compile(rf"[a-z0-9à-öø-ɏЀ-ӿ]+|[{_CJK}]+", re.IGNORECASE)
_CJK_RUN = re.compile(rf"[{_CJK}]")
_NUMBER = re.compile(r"[-+]?\d+(?:[.,:/]\d+)*%?")
_EDGES = ".,;:!\"'()[]{}\u2026\u3002\uff0c\uff1b\uff1a\uff01\uff08\uff09\u300c\u300d\u300e\u300f\u201c\u201d\u2018\u2019"
_FILLERS = frozenset({"a", "an", "the", "please", "just", "really", "very", "also"})
_NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "nothing",
        "nobody",
        "neither",
        "nor",
        "cannot",
        "without",
        "unless",
        "hardly",
        "barely",
    ]
)
_CJK_NEGATIONS = "不没沒未非无無别勿"
_CONTRACTIONS = {
    "can't": "can not",
    "cannot": "can not",
    "won't": "will not",
    "shan't": "shall not",
}
_NAME = re.compile(r"[A-Z][\w'-]*|\w*[a-z][A-Z]\w*|\w+_\w+")
STOP_WORDS = frozenset(
    [
        "a",
        "about",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)


class _Worded(Protocol):
    @property
    def indexed_text(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def body(self) -> str: ...
    @property
    def entities(self) -> tuple[str, ...]: ...


def search_terms(text: str) -> list[str]:
    """Return the terms of `text` for the lexical index: stems, and CJK characters and pairs."""
    terms: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if _CJK_RUN.match(word):
            terms += word
            terms += [word[i : i + 2] for i in range(len(word) - 1)]
        elif (lower := word.lower()) not in STOP_WORDS:
            terms.append(stem(lower))
    return terms


def term_keys(text: str) -> list[int]:
    """Return the fingerprints of `search_terms`, by which the lexical index knows them."""
    return [_term_key(term) for term in search_terms(text)]


def fingerprint(text: str) -> int:
    """Return 64 bits that stand for a text; 0 for none."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) if text else 0


_term_key = lru_cache(maxsize=200_000)(fingerprint)


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """Return the English stem of a lower-case word."""
    return str(_stemmer().stemWord(word))


@lru_cache(maxsize=1)
def _stemmer() -> "_Stemmer":
    import Stemmer

    stemmer: _Stemmer = Stemmer.Stemmer("english", maxCacheSize=0)
    return stemmer


class _Stemmer(Protocol):
    def stemWord(self, word: str) -> str: ...  # noqa: N802 - the library's name


def cjk_share(text: str) -> float:
    """Return the share of CJK characters among the letters of `text`, from 0 to 1."""
    if text.isascii():
        return 0.0
    letters = [character for character in text if character.isalpha()]
    return sum(bool(_CJK_RUN.match(c)) for c in letters) / len(letters) if letters else 0.0


def words_in_order(text: str) -> list[str]:
    """Return the words of `text` that tell it from another text, in order.

    Case, sentence punctuation, articles and contractions are normalised; symbols inside or next to
    words (`-5`, `x<3`, `a.b`) and question marks stay.
    """
    words: list[str] = []
    for raw in text.replace("\u2019", "'").split():
        word = raw.strip(_EDGES).casefold()
        word = _CONTRACTIONS.get(word, word)
        if word.endswith("n't"):
            word = f"{word[:-3]} not"
        words += [part for part in word.split() if part not in _FILLERS]
    return words


def numbers_in(text: str) -> tuple[str, ...]:
    """Return the numbers in `text`, in order, with sign and percent mark."""
    return tuple(_NUMBER.findall(text))


def negations_in(text: str) -> int:
    """Return how many negating words `text` holds."""
    words = sum(word in _NEGATIONS for word in words_in_order(text))
    return words + sum(text.count(mark) for mark in _CJK_NEGATIONS)


def names_in(text: str) -> frozenset[str]:
    """Return words that look like names: capitals inside a sentence, camelCase, snake_case."""
    found: set[str] = set()
    start = True
    for raw in text.split():
        word = raw.strip(_EDGES)
        inner = any(c.isupper() for c in word[1:]) or "_" in word
        if word and _NAME.match(word) and (not start or inner):
            found.add(word.removesuffix("'s"))
        start = raw.endswith((".", "!", "?", ":", "。"))
    return frozenset(found)


def text_keys(record: _Worded) -> tuple[bytes, bytes]:
    """Return two fingerprints of a record's content.

    The first is equal for texts that say the same in the same words. The second is equal for texts
    that differ at most in inflection, numbers and negations: repetitions or contradictions.
    """
    words = words_in_order(record.text)
    names = sorted({*names_in(record.text), *record.entities})
    same = "\0".join((*words, "", *names, "", *words_in_order(record.body)))
    frame = [
        stem(_NUMBER.sub("#", word))
        for word in words
        if word not in _NEGATIONS and word not in ("do", "does", "did")
    ]
    return _digest(same), _digest("\0".join((*frame, "", *names)))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
