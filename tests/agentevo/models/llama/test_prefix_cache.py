"""The prefix cache finds the longest prefix under exactly one key and keeps to its bound."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agentevo.models.llama.prefix_cache import (
    BLOCK_TOKENS,
    CachedPrefix,
    PrefixCache,
    PrefixIndex,
    Tokens,
    common_prefix,
)

tokens = st.lists(st.integers(0, 2), max_size=70).map(lambda ids: np.asarray(ids, np.int32))
keys = st.sampled_from([b"base", b"adapter"])


def entry(key: bytes, ids: Tokens, size: int = 10) -> CachedPrefix:
    return CachedPrefix(key, ids, np.zeros(size, np.uint8))


@given(st.lists(st.tuples(keys, tokens), max_size=8), keys, tokens)
def test_index_finds_the_longest_prefix_of_its_key(
    held: list[tuple[bytes, Tokens]], key: bytes, wanted: Tokens
) -> None:
    index = PrefixIndex()
    for owner, (owner_key, ids) in enumerate(held):
        index.add(owner, owner_key, ids)
    owner, length = index.find(key, wanted)
    best = max((common_prefix(t, wanted) for k, t in held if k == key), default=0)
    assert length == (best if best >= BLOCK_TOKENS else 0)
    if owner >= 0:
        assert held[owner][0] == key
        assert np.array_equal(held[owner][1][:length], wanted[:length])


@given(st.lists(st.tuples(keys, tokens), max_size=8))
def test_index_is_empty_after_everything_left(held: list[tuple[bytes, Tokens]]) -> None:
    index = PrefixIndex()
    for owner, (key, ids) in enumerate(held):
        index.add(owner, key, ids)
    for owner in range(len(held)):
        index.remove(owner)
    assert all(index.find(key, ids) == (-1, 0) for key, ids in held)


@given(st.lists(st.tuples(keys, tokens), max_size=8), keys, tokens)
def test_index_names_the_owners_of_nothing_but_a_beginning(
    held: list[tuple[bytes, Tokens]], key: bytes, longer: Tokens
) -> None:
    index = PrefixIndex()
    for owner, (owner_key, ids) in enumerate(held):
        index.add(owner, owner_key, ids)
    expected = {
        owner
        for owner, (k, ids) in enumerate(held)
        if k == key and len(ids) >= BLOCK_TOKENS and np.array_equal(ids, longer[: len(ids)])
    }
    found = index.contained(key, longer)
    assert set(found) == expected
    assert len(found) == len(expected)


def test_of_many_states_with_one_beginning_the_newest_are_compared() -> None:
    cache = PrefixCache(1000)
    beginning = np.zeros(BLOCK_TOKENS, np.int32)
    for i in range(1, 100):
        cache.store(entry(b"k", np.append(beginning, np.full(8, i, np.int32)), size=1))
    assert cache.find(b"k", np.append(beginning, np.full(8, 99, np.int32)))[1] == BLOCK_TOKENS + 8
    assert cache.find(b"k", np.append(beginning, np.full(8, 1, np.int32)))[1] == BLOCK_TOKENS


@given(st.lists(st.tuples(tokens, st.integers(1, 60)), max_size=20))
def test_cache_never_exceeds_its_bound(stored: list[tuple[Tokens, int]]) -> None:
    cache = PrefixCache(100)
    for ids, size in stored:
        cache.store(entry(b"base", ids, size))
        assert cache.bytes_used <= cache.limit_bytes


def test_cache_evicts_what_was_used_least_recently() -> None:
    cache = PrefixCache(20)
    a, b, c = (np.full(20, i, np.int32) for i in range(3))
    cache.store(entry(b"k", a))
    cache.store(entry(b"k", b))
    cache.find(b"k", a)
    cache.store(entry(b"k", c))
    assert [cache.find(b"k", ids)[1] for ids in (a, b, c)] == [20, 0, 20]


def test_a_longer_state_replaces_the_shorter_one_it_contains() -> None:
    cache = PrefixCache(1000)
    ids = np.arange(40, dtype=np.int32)
    cache.store(entry(b"k", ids[:20]))
    cache.store(entry(b"other", ids[:20]))
    cache.store(entry(b"k", ids))
    assert len(cache) == 2
    assert cache.find(b"k", ids)[1] == 40
    assert cache.find(b"other", ids)[1] == 20


def test_state_above_the_bound_is_not_kept() -> None:
    cache = PrefixCache(5)
    cache.store(entry(b"k", np.zeros(20, np.int32)))
    assert len(cache) == cache.bytes_used == 0
