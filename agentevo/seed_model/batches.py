"""Episodes as padded batches of token ids and roles, in an order that can be continued anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, TypeAlias

from agentevo.seed_model.episodes import draw_episode
from agentevo.seed_model.tokenizer import Vocabulary, load_tokenizer
from agentevo.seed_model.transcript import Transcript

if TYPE_CHECKING:
    from torch import Tensor

POOL_EPISODES = 256
EARLIER_LEVEL_SHARE = 0.15
PADDING = -1
Encoded: TypeAlias = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Some episodes of similar length.

    Attributes:
        ids: Token ids, (episodes, tokens), padded with 0.
        roles: The role of each token, padded with -1.
    """

    ids: "Tensor"
    roles: "Tensor"

    @property
    def tokens(self) -> int:
        """Number of tokens that are not padding."""
        return int((self.roles != PADDING).sum())


def encode(transcript: Transcript, vocabulary: Vocabulary | None = None) -> Encoded:
    """Return token ids and the role of each token, which is that of its last character."""
    encoding = load_tokenizer(vocabulary).encode(transcript.text)
    roles = [role for text, role in transcript.spans for _ in text]
    return encoding.ids, [int(roles[end - 1]) for _, end in encoding.offsets]


def pad(episodes: list[Encoded]) -> Batch:
    """Stack encoded episodes."""
    import torch

    longest = max(len(ids) for ids, _ in episodes)
    ids = torch.zeros(len(episodes), longest, dtype=torch.long)
    roles = torch.full((len(episodes), longest), PADDING, dtype=torch.long)
    for row, (tokens, kinds) in enumerate(episodes):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        roles[row, : len(kinds)] = torch.tensor(kinds)
    return Batch(ids, roles)


def group(episodes: list[Encoded], batch_tokens: int) -> list[Batch]:
    """Sort episodes by length and cut them into batches of at most `batch_tokens` with padding."""
    batches: list[Batch] = []
    current: list[Encoded] = []
    for episode in sorted(episodes, key=lambda e: len(e[0])):
        if current and (len(current) + 1) * len(episode[0]) > batch_tokens:
            batches.append(pad(current))
            current = []
        current.append(episode)
    return [*batches, pad(current)] if current else batches


class Stream:
    """The endless stream of training batches.

    Args:
        seed: Seed of the stream.
        batch_tokens: Tokens per batch, padding included.
        longest: Episodes with more tokens are left out.
        vocabulary: What to encode with.
    """

    def __init__(self, seed: int, *, batch_tokens: int, longest: int, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self.batch_tokens, self.longest = batch_tokens, longest
        self.random, self.level = Random(seed), 0
        self._pool: list[Batch] = []
        self._origin = (self.random.getstate(), self.level)
        self._taken = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """Return the next batch."""
        if self._taken == len(self._pool):
            self._fill()
        self._taken += 1
        return self._pool[self._taken - 1]

    def state(self) -> dict[str, Any]:
        """Return what `load` needs to continue with the very next batch."""
        return {"origin": self._origin, "taken": self._taken, "level": self.level}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        origin, self.level = state["origin"]
        version, numbers, gauss = origin
        self.random.setstate((version, tuple(numbers), gauss))
        if state["taken"]:
            self._fill()
        self._taken, self.level = state["taken"], state["level"]

    def begin(self, seed: int, level: int) -> None:
        """Begin a new stream at a level of the curriculum."""
        self.random, self.level = Random(seed), level
        self._pool, self._taken = [], 0
        self._origin = (self.random.getstate(), level)

    def _fill(self) -> None:
        self._origin, self._taken = (self.random.getstate(), self.level), 0
        episodes: list[Encoded] = []
        while len(episodes) < POOL_EPISODES:
            earlier = self.random.random() < EARLIER_LEVEL_SHARE
            level = self.random.randint(0, self.level) if earlier else self.level
            episode = encode(draw_episode(self.random, level), self.vocabulary)
            if len(episode[0]) <= self.longest:
                episodes.append(episode)
        self._pool = group(episodes, self.batch_tokens)
        self.random.shuffle(self._pool)
