"""Keeps evaluation items out of training rows: exact prompts, shared 13-grams, near-equal meaning."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

NGRAM_WORDS = 13
"""Length of a shared run of words that counts as a leak (Brown et al. 2020, appendix C)."""

Embed = Callable[[Sequence[str]], "np.ndarray"]
"""Texts to unit vectors, shape (texts, dimensions)."""


class Decontaminator:
    """Finds texts that evaluation items leak into.

    Args:
        evaluation: Texts of every evaluation item of every split.
        embed: Embedding for near-equal meaning; None checks words only.
        similarity: Cosine from which two texts count as the same, in (0, 1].
    """

    def __init__(
        self, evaluation: Iterable[str], *, embed: Embed | None = None, similarity: float = 0.995
    ) -> None:
        texts = [text for text in evaluation if text.strip()]
        self._exact = {tuple(_words(text)) for text in texts}
        self._ngrams = {gram for text in texts for gram in _ngrams(text)}
        self._embed = embed
        self._similarity = similarity
        self._vectors = embed(texts) if embed and texts else None

    def leak_in(self, text: str) -> str | None:
        """Return why `text` counts as leaked, or None."""
        if tuple(_words(text)) in self._exact:
            return "the text of an evaluation item"
        if not self._ngrams.isdisjoint(_ngrams(text)):
            return f"{NGRAM_WORDS} words in a row of an evaluation item"
        if self._embed is not None and self._vectors is not None:
            nearest = float((self._vectors @ self._embed([text])[0]).max())
            if nearest >= self._similarity:
                return f"the meaning of an evaluation item (cosine {nearest:.3f})"
        return None


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + NGRAM_WORDS]) for i in range(len(words) - NGRAM_WORDS + 1)}
