"""A byte-level BPE tokenizer whose merges are built, not trained.

Every lexicon word, every syllable and every frequent piece of boilerplate is one token, and an
invented name is always its two syllables, so copying a name is copying two tokens wherever it stands.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

from agentevo.errors import AgentevoError
from agentevo.seed_model.curriculum import LEVELS
from agentevo.seed_model.episodes import draw_episode
from agentevo_environments.packs.quirks import names

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The pre-tokenizer that llama.cpp calls "qwen2".
PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
SAMPLE_EPISODES = 3000
COMMON = 8
SPACE = "Ġ"


class SplitNameError(AgentevoError, ValueError):
    """A name would not be tokenized as its two syllables."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id and the merges that make them."""

    tokens: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]


def byte_symbols() -> list[str]:
    """Return the printable symbol of each byte value, as in GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, moved = [], 0
    for byte in range(256):
        symbols.append(chr(byte) if byte in printable else chr(256 + moved))
        moved += byte not in printable
    return symbols


class _Merges:
    """An ordered merge list under construction."""

    def __init__(self) -> None:
        self.rank: dict[tuple[str, str], int] = {}

    def add(self, left: str, right: str) -> None:
        self.rank.setdefault((left, right), len(self.rank))

    def split(self, word: str) -> list[str]:
        """Apply the merges so far to a word."""
        pieces = list(word)
        while len(pieces) > 1:
            pairs = [
                (self.rank.get(pair, len(self.rank)), position)
                for position, pair in enumerate(pairwise(pieces))
            ]
            rank, at = min(pairs)
            if rank == len(self.rank):
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        return pieces

    def make_one(self, word: str) -> None:
        """Add the merges that turn a word into one token, from its end."""
        while len(pieces := self.split(word)) > 1:
            self.add(pieces[-2], pieces[-1])


def _pre_tokenizer() -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _sample_pieces() -> list[str]:
    """Return the pre-tokens of sample episodes that are not invented names, most frequent first."""
    counts: dict[str, int] = {}
    pre, random = _pre_tokenizer(), Random(0)
    specials = re.compile("|".join(map(re.escape, (*CONTROL, *TOOL_TAGS))))
    for index in range(SAMPLE_EPISODES):
        text = draw_episode(random, index % len(LEVELS)).text
        for segment in filter(None, specials.split(text)):
            for piece, _ in pre.pre_tokenize_str(segment):
                counts[piece] = counts.get(piece, 0) + 1
    common = [p for p in sorted(counts, key=lambda p: (-counts[p], p)) if counts[p] >= COMMON]
    return [piece for piece in common if len(piece) > 1 and not _is_name(piece)]


def _is_name(piece: str) -> bool:
    word = piece.removeprefix(SPACE).lower()
    return (
        word not in names.WORDS
        and re.fullmatch(r"([bdfgklmnprstvz][aeiou]){2}|[a-z]", word) is not None
    )


@cache
def vocabulary() -> Vocabulary:
    """Build the vocabulary; the same version of the generator, the same vocabulary."""
    merges = _Merges()
    for syllable in names.SYLLABLES:
        merges.add(*syllable)
        merges.add(syllable[0].upper(), syllable[1])
    pieces = [*(SPACE + word for word in names.WORDS), *_sample_pieces()]
    for piece in dict.fromkeys(pieces):
        bare = piece.removeprefix(SPACE)
        merges.make_one(bare)
        if bare != piece:
            merges.add(SPACE, bare)
    for syllable in names.SYLLABLES:
        merges.add(SPACE, syllable.capitalize())
        merges.add(SPACE, syllable)
    for letter in names.LETTERS:
        merges.add(SPACE, letter)
    tokens = dict.fromkeys([*byte_symbols(), *(left + right for left, right in merges.rank)])
    return Vocabulary((*tokens, *CONTROL, *TOOL_TAGS), tuple(merges.rank))


@cache
def load_tokenizer(vocab: Vocabulary | None = None) -> "Tokenizer":
    """Return the tokenizer of a vocabulary, of a newly built one when None.

    Raises:
        SplitNameError: Some name that the generator may draw is not two tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models

    vocab = vocab or vocabulary()
    ids = {token: index for index, token in enumerate(vocab.tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=list(vocab.merges)))
    tokenizer.pre_tokenizer = _pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in TOOL_TAGS])
    check_names(tokenizer)
    return tokenizer


def drawable_names() -> list[str]:
    """Return every name that the generator may draw, reserved ones included."""
    pairs = [first + second for first in names.SYLLABLES for second in names.SYLLABLES]
    return [name for name in pairs if not any(name in word for word in names.WORDS)]


def check_names(tokenizer: "Tokenizer") -> None:
    """Check that every name that can be drawn is its two syllables, capitalised or not.

    Raises:
        SplitNameError: One is not; the message names it and what it became.
    """
    drawable = drawable_names()
    for name in [*drawable, *(name.capitalize() for name in drawable)]:
        tokens = tokenizer.encode(" " + name).tokens
        if tokens != [SPACE + name[:2], name[2:]]:
            raise SplitNameError(
                f"the name {name!r} becomes the tokens {tokens!r}, not its two syllables: "
                "a word that contains it is missing from names.WORDS"
            )
