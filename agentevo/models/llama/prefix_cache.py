"""`PrefixCache`: key-value states of earlier prompts, found by their longest common prefix.

Every entry carries the key of the model and the adapter set that computed it; a state is only ever
found under exactly that key. Candidates are found by chained block hashes and then compared token
by token, so a hash collision cannot serve a wrong state either.
"""

import functools
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS: Final = 16
BLOCK_BYTES: Final = 4 * BLOCK_TOKENS
_COMPARED: Final = 32

Tokens = NDArray[np.int32]


class PrefixIndex:
    """Which owner knows the longest prefix of a token sequence, per key."""

    def __init__(self) -> None:
        self._tokens: dict[int, tuple[bytes, Tokens]] = {}
        self._blocks: dict[bytes, dict[int, None]] = {}
        self._ends: dict[bytes, dict[int, None]] = {}

    def add(self, owner: int, key: bytes, tokens: Tokens) -> None:
        """Register what `owner` holds; replaces what it held before."""
        self.remove(owner)
        self._tokens[owner] = (key, tokens)
        blocks = _block_hashes(key, tokens)
        for block in blocks:
            self._blocks.setdefault(block, {})[owner] = None
        if blocks:
            self._ends.setdefault(blocks[-1], {})[owner] = None

    def remove(self, owner: int) -> None:
        """Forget `owner`; unknown owners are ignored."""
        held = self._tokens.pop(owner, None)
        if held is None:
            return
        blocks = _block_hashes(*held)
        for block in blocks:
            _leave(self._blocks, block, owner)
        if blocks:
            _leave(self._ends, blocks[-1], owner)

    def find(self, key: bytes, tokens: Tokens) -> tuple[int, int]:
        """Return (owner, length) of the longest common prefix, (-1, 0) below one block.

        Of many owners that share the same whole blocks only the newest are compared further.
        """
        owners: dict[int, None] = {}
        for block in _block_hashes(key, tokens):
            known = self._blocks.get(block)
            if known is None:
                break
            owners = known
        best, length = -1, 0
        for owner in islice(reversed(owners), _COMPARED):
            held_key, held = self._tokens[owner]
            common = common_prefix(held, tokens) if held_key == key else 0
            if common > length:
                best, length = owner, common
        return best, length

    def contained(self, key: bytes, tokens: Tokens) -> list[int]:
        """Return the owners of at least one block that hold nothing but a beginning of `tokens`."""
        return [
            owner
            for block in _block_hashes(key, tokens)
            for owner in self._ends.get(block, ())
            if self._holds_beginning(owner, key, tokens)
        ]

    def _holds_beginning(self, owner: int, key: bytes, tokens: Tokens) -> bool:
        held_key, held = self._tokens[owner]
        return held_key == key and np.array_equal(held, tokens[: len(held)])


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """A saved state: the tokens it covers and the bytes llama.cpp restores it from."""

    key: bytes
    tokens: Tokens
    blob: NDArray[np.uint8]


class PrefixCache:
    """Saved states within a memory bound; the least recently used goes first. Safe for threads."""

    def __init__(self, limit_bytes: int) -> None:
        """Create an empty cache; `limit_bytes` 0 keeps nothing."""
        self.limit_bytes = limit_bytes
        self.bytes_used = 0
        self._entries: OrderedDict[int, CachedPrefix] = OrderedDict()
        self._index = PrefixIndex()
        self._next_id = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of saved states."""
        return len(self._entries)

    def find(self, key: bytes, tokens: Tokens) -> tuple[CachedPrefix | None, int]:
        """Return the state with the longest common prefix, and that prefix's length."""
        with self._lock:
            owner, length = self._index.find(key, tokens)
            if owner < 0:
                return None, 0
            self._entries.move_to_end(owner)
            return self._entries[owner], length

    def covers(self, key: bytes, tokens: Tokens) -> bool:
        """Say whether all but less than a block of `tokens` is saved already."""
        with self._lock:
            return self._index.find(key, tokens)[1] > len(tokens) - BLOCK_TOKENS

    def store(self, entry: CachedPrefix) -> None:
        """Keep a state; drops the shorter states it contains and what exceeds the bound."""
        if entry.blob.nbytes > self.limit_bytes or len(entry.tokens) < BLOCK_TOKENS:
            return
        with self._lock:
            for owner in self._index.contained(entry.key, entry.tokens):
                self._drop(owner)
            self._entries[self._next_id] = entry
            self._index.add(self._next_id, entry.key, entry.tokens)
            self.bytes_used += entry.blob.nbytes
            self._next_id += 1
            while self.bytes_used > self.limit_bytes:
                self._drop(next(iter(self._entries)))

    def clear(self) -> None:
        """Forget every state."""
        with self._lock:
            for owner in list(self._entries):
                self._drop(owner)

    def _drop(self, owner: int) -> None:
        self.bytes_used -= self._entries.pop(owner).blob.nbytes
        self._index.remove(owner)


def _leave(owners_by_block: dict[bytes, dict[int, None]], block: bytes, owner: int) -> None:
    owners = owners_by_block[block]
    del owners[owner]
    if not owners:
        del owners_by_block[block]


def common_prefix(a: Tokens, b: Tokens) -> int:
    """Return how many leading tokens `a` and `b` share."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def _block_hashes(key: bytes, tokens: Tokens) -> tuple[bytes, ...]:
    return _chained_hashes(key, tokens.tobytes())


@functools.lru_cache(maxsize=128)
def _chained_hashes(key: bytes, data: bytes) -> tuple[bytes, ...]:
    """Return one hash per whole block, of the key and everything up to the block's end.

    A prompt is looked up and entered several times on its way, hence the memory.
    """
    digest, hashes = key, []
    for start in range(0, len(data) - BLOCK_BYTES + 1, BLOCK_BYTES):
        block = data[start : start + BLOCK_BYTES]
        digest = hashlib.blake2b(block, digest_size=16, key=digest[:64]).digest()
        hashes.append(digest)
    return tuple(hashes)
