"""The tokenizer: names are two tokens wherever they stand, and any text survives."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.seed_model.episodes import draw_episode
from agentevo.seed_model.tokenizer import (
    CONTROL,
    TOOL_TAGS,
    SplitNameError,
    check_names,
    drawable_names,
    load_tokenizer,
    vocabulary,
)
from agentevo_environments.packs.quirks import names, service

PLACES = [
    "In {}: lock",
    "- In Moki move is {}\n",
    "Plan: {} is",
    '{{"command": "do {} obj"}}',
    "do obj {}",
]


def test_every_name_has_the_same_tokens_wherever_it_stands() -> None:
    tokenizer = load_tokenizer()
    for name in drawable_names():
        for word in (name, name.capitalize()):
            own = tokenizer.encode(f" {word}").ids
            assert len(own) == 2
            for place in PLACES[:: 4 if word is name else 2]:
                ids = tokenizer.encode(place.format(word)).ids
                assert any(ids[i : i + 2] == own for i in range(len(ids)))


def test_every_lexicon_word_after_a_space_is_one_token() -> None:
    tokenizer = load_tokenizer()
    lexicon = (*service.ACTIONS, *service.STEPS, *service.OBJECTS, *service.PLACES, *service.COLORS)
    words = (*lexicon, *names.FLAGS, *service.KEYS, *service.RELATIONS.values(), service.NOTHING)
    assert all(len(tokenizer.encode(f" {word}").ids) == 1 for word in words)


def test_chat_and_tool_tags_are_one_token_each() -> None:
    tokenizer = load_tokenizer()
    assert all(len(tokenizer.encode(tag).ids) == 1 for tag in (*CONTROL, *TOOL_TAGS))


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    tokenizer = load_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_llama_cpp_tokenizes_episodes_alike(chat_model: ChatLlamaEngine) -> None:
    random, tokenizer = Random(4), load_tokenizer()
    for _ in range(40):
        text = draw_episode(random, reserved=True).text
        assert chat_model.engine.model.vocabulary.tokenize(text) == tokenizer.encode(text).ids


def test_a_tokenizer_that_splits_a_name_is_refused() -> None:
    tokens = {token: index for index, token in enumerate(vocabulary().tokens)}
    merges = [pair for pair in vocabulary().merges if pair != ("z", "a")]
    broken = Tokenizer(models.BPE(vocab=tokens, merges=[m for m in merges if "za" not in m]))
    broken.pre_tokenizer = load_tokenizer().pre_tokenizer
    with pytest.raises(SplitNameError, match="not its two syllables"):
        check_names(broken)
