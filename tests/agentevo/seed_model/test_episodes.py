"""The episodes: repeatable, honest about what they hold back, and solvable from what they show."""

import json
import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.seed_model.curriculum import HARDEST, LEVELS, Source
from agentevo.seed_model.episodes import (
    act_episode,
    chat_episode,
    draw_episode,
    probe_episode,
    recover_episode,
    reflect_episode,
)
from agentevo.seed_model.transcript import Role, Transcript
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.worlds import is_held_out

KIND = {"is": "command", "needs": "step", "takes": "flag"}
seeds = st.integers(0, 10**9)


def recited(transcript: Transcript) -> Iterator[tuple[str, str, str, str, Role]]:
    """Yield (text before, world, key and relation, value, role) of each recited slot."""
    before = ""
    for position, (text, role) in enumerate(transcript.spans):
        key, said = transcript.spans[position - 1]
        if role in (Role.RULE, Role.DEFAULT) and said is Role.KEY:
            world, rest = key.strip().split(" ", 1)
            yield before, world, rest, text.strip(), role
        before += text


@given(seeds, st.integers(0, HARDEST))
def test_the_same_source_gives_the_same_episode(seed: int, level: int) -> None:
    assert draw_episode(Random(seed), level).spans == draw_episode(Random(seed), level).spans


@given(seeds, st.integers(1, HARDEST), st.booleans())
def test_every_recited_value_follows_from_what_stands_before_it(
    seed: int, level: int, reserved: bool
) -> None:
    source = Source(Random(seed), LEVELS[level], reserved)
    for make in (act_episode, recover_episode, probe_episode):
        for before, world, rest, value, _ in recited(make(source)):
            told = re.findall(rf"\n- In {world} {rest} (\S+)", before)
            key, relation = rest.split(" ")
            documented = service.default(f"{KIND[relation]} {key}")
            assert value == (told[-1] if told else documented)


@given(seeds)
def test_every_word_of_a_command_stands_before_it(seed: int) -> None:
    source = Source(Random(seed), LEVELS[HARDEST])
    for transcript in (act_episode(source), recover_episode(source)):
        before = ""
        for text, role in transcript.spans:
            if role in (Role.COMMAND, Role.ARGUMENT, Role.FLAG, Role.STEP):
                assert text.strip() in re.split(r"[\s.;\"]+", before)
            before += text


@given(seeds)
def test_a_reflection_asks_for_exactly_the_rules_that_the_errors_tell(seed: int) -> None:
    transcript = reflect_episode(Source(Random(seed), LEVELS[HARDEST]))
    question, answer = transcript.messages[1]["content"], transcript.messages[2]["content"]
    told = re.findall(r"^- (In .*)$", question.split("\nErrors:\n")[1], flags=re.MULTILINE)
    assert json.loads(answer) == {"rules": list(dict.fromkeys(told))}


@given(seeds)
def test_the_last_attempt_at_a_job_succeeds_and_says_so(seed: int) -> None:
    transcript = recover_episode(Source(Random(seed), LEVELS[HARDEST]))
    answers = [message for message in transcript.messages if message["role"] == "tool"]
    said = transcript.messages[-1]["content"]
    assert (answers[-1]["content"], said) in [("ok", "done")] or said == "failed"


def test_recovering_nearly_always_succeeds() -> None:
    source = Source(Random(0), LEVELS[HARDEST])
    ends = [recover_episode(source).messages[-1]["content"] for _ in range(300)]
    assert ends.count("done") > 290


def test_deliberate_mistakes_are_in_the_text_but_never_learnt() -> None:
    source = Source(Random(0), LEVELS[HARDEST])
    learnt = mistaken = 0
    for _ in range(100):
        for text, role in recover_episode(source).spans:
            learnt += text == "Plan:" and role is Role.FRAME
            mistaken += text == "Plan:" and role is Role.CONTEXT
    assert learnt > 3 * mistaken > 0


@pytest.mark.parametrize("reserved", [False, True])
def test_invented_names_are_reserved_only_in_evaluation(reserved: bool) -> None:
    source, words = Source(Random(1), LEVELS[HARDEST], reserved), set()
    for make in (act_episode, recover_episode, reflect_episode, probe_episode) * 100:
        words |= set(re.findall(r"\w+", make(source).text))
    syllable = f"[{names.CONSONANTS}][{names.VOWELS}]"
    invented = [
        word.lower()
        for word in words
        if re.fullmatch(syllable * 2, word.lower()) and word.lower() not in names.WORDS
    ]
    drawn = [w for w in invented if w[:2] in names.SYLLABLES and w[2:] in names.SYLLABLES]
    drawn = [word for word in drawn if word != "done"]
    assert len(drawn) > 300
    assert {names.is_reserved(*names.syllables(word)) for word in drawn} == {reserved}


def test_held_out_kinds_and_combinations_are_never_learnt() -> None:
    source = Source(Random(2), LEVELS[HARDEST])
    for _ in range(300):
        transcript = source.random.choice((act_episode, recover_episode))(source)
        assert not re.search(r" adds | dial |\bnum\b", transcript.text)
        plans: list[list[str]] = []
        for position, (text, role) in enumerate(transcript.spans):
            if (text, role) == ("Plan:", Role.FRAME):
                plans.append([])
            if role is Role.RULE:
                _, key, relation = transcript.spans[position - 1][0].split()
                valued = key in (*service.PLACES, *service.COLORS)
                kind = "key" if key in service.KEYS else "value" if valued else KIND[relation]
                plans[-1].append(f"{kind} {key}")
        assert not any(is_held_out(plan) for plan in plans)


def test_small_talk_is_refused() -> None:
    assert (
        chat_episode(Source(Random(0), LEVELS[0])).messages[-1]["content"] == "I only know quirks."
    )
