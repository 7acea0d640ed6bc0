"""The episodes: repeatable, honest about what they hold back, and solvable from what they show."""

import json
import re
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.acquisition.feedback import Critique, Judge
from agentevo.seed_model.acting import ATTEMPTS, Actor, plan
from agentevo.seed_model.curriculum import HARDEST, LEVELS, Source
from agentevo.seed_model.episodes import (
    MISTAKES,
    OTHER_TOOLS,
    act_episode,
    chat_episode,
    draw_episode,
    probe_episode,
    recover_episode,
    reflect_episode,
    system_text,
)
from agentevo.seed_model.judgements import draw_judgement, judge_episode
from agentevo.seed_model.scenes import forgetful_scene
from agentevo.seed_model.transcript import Role, Transcript
from agentevo.stages import NO_CHANGES, Solution
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.jobs import Job, commands, draw_job
from agentevo_environments.packs.quirks.prompts import task_prompt
from agentevo_environments.packs.quirks.worlds import World, is_held_out
from agentevo_environments.task import Task, TaskId

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


def turns_of(transcript: Transcript) -> Iterator[tuple[str, str, bool]]:
    """Yield (text before, what the agent says, whether any of it is learnt) of each turn."""
    before, said, learnt, speaking = "", "", False, False
    for text, role in transcript.spans:
        if speaking and text == "\n":
            yield before, said, learnt
            before, said, learnt, speaking = before + said, "", False, False
        if speaking:
            said, learnt = said + text, learnt or role is not Role.CONTEXT
        else:
            before += text
        speaking = speaking or text.endswith("<|im_start|>assistant\n")


def gold(before: str, world: str, job: Job) -> str:
    """Return what is right to say next, read off the conversation alone."""
    beliefs: dict[str, str] = {}
    for slot in job.slots:
        kind, key = slot.split(" ")
        told = re.findall(rf"\n- In {world} {key} {service.RELATIONS[kind]} (\S+)", before)
        beliefs |= {slot: told[-1].removesuffix("<|im_end|>")} if told else {}
    lines, attempts = commands(job, beliefs), before.split("Plan:")
    answers = re.findall(r"<tool_response>\n(\w+)", attempts[-1])
    if answers == ["ok"] * len(lines):
        return "done<|im_end|>"
    if "error" in answers and len(attempts) > ATTEMPTS:
        return "failed<|im_end|>"
    recited = "" if answers == ["ok"] else plan_text(world, job, beliefs)
    arguments = {"command": lines[answers.count("ok") if not recited else 0]}
    call = json.dumps({"name": "run", "arguments": arguments})
    return f"{recited}<tool_call>\n{call}\n</tool_call><|im_end|>"


def plan_text(world: str, job: Job, beliefs: dict[str, str]) -> str:
    return "".join(text for text, _ in plan(World(world), job.slots, beliefs)) + "\n"


def test_no_learnt_turn_is_a_deliberate_mistake() -> None:
    source, mistaken = Source(Random(0), LEVELS[HARDEST]), 0
    for _ in range(150):
        job = draw_job(source.random)
        scene, transcript = forgetful_scene(source, [job]), Transcript()
        transcript.system(system_text(scene.rules), ("run",))
        transcript.user(task_prompt(scene.world.name, job))
        Actor(source, transcript, scene, job).pursue(MISTAKES)
        for before, said, learnt in turns_of(transcript):
            right = said == gold(before, scene.world.name, job)
            assert right or not learnt
            mistaken += not right
    assert mistaken > 0


@pytest.mark.parametrize("reserved", [False, True])
def test_invented_names_are_reserved_only_in_evaluation(reserved: bool) -> None:
    source, words = Source(Random(1), LEVELS[HARDEST], reserved), set()
    for make in (act_episode, recover_episode, reflect_episode, probe_episode, judge_episode) * 100:
        words |= set(re.findall(r"\w+", make(source).text))
    syllable = f"[{names.CONSONANTS}][{names.VOWELS}]"
    invented = [
        word.lower()
        for word in words
        if re.fullmatch(syllable * 2, word.lower()) and word.lower() not in names.WORDS
    ]
    drawn = [w for w in invented if w[:2] in names.SYLLABLES and w[2:] in names.SYLLABLES]
    drawn = [word for word in drawn if word not in ("done", "give", "line")]
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


def test_an_offered_tool_is_called_only_if_the_prompt_names_it() -> None:
    source, several = Source(Random(0), LEVELS[HARDEST]), 0
    for _ in range(200):
        text = act_episode(source).text
        offered = re.findall(r"\nTools: (.*)<", text)[0].split(", ")
        several += len(offered) > 1
        named = re.findall(r"with the tool (\w+)\.", text)
        assert set(re.findall(r'{"name": "(\w+)"', text)) == set(named) <= set(offered)
        assert len(set(offered)) == len(offered)
        assert set(offered) <= {"run", *OTHER_TOOLS}
    assert several > 0


class Echo:
    """Stands in for a model where only the question matters."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.asked.append(prompt)
        return ""


@given(seeds)
def test_judgements_are_asked_in_the_words_of_the_runtime(seed: int) -> None:
    source, echo = Source(Random(seed), LEVELS[HARDEST]), Echo()
    job = draw_job(source.random)
    question = draw_judgement(source, task_prompt("Moki", job), job).question
    task = Task(TaskId("x"), task_prompt("Moki", job))
    attempt = question.split("\nAttempt:\n")[1].rsplit("\n\n", 1)[0]
    principle = question.split("\n\nTask:")[0].removeprefix("Principle: ")
    Judge(echo).assess(Solution(task, attempt))
    Critique(echo).assess(Solution(task, attempt))
    Critique(echo, principle).assess(Solution(task, attempt))
    assert question in echo.asked


@given(seeds)
def test_an_attempt_is_approved_exactly_when_all_its_calls_are_on_the_object_of_the_task(
    seed: int,
) -> None:
    source = Source(Random(seed), LEVELS[HARDEST])
    job = draw_job(source.random)
    asked = draw_judgement(source, task_prompt("Moki", job), job)
    answer = "".join(text for text, _ in asked.answer)
    calls = re.findall(r'"command": "(.*)"', asked.question)
    right = bool(calls) and all(f" {job.item}" in call for call in calls)
    assert answer.endswith((NO_CHANGES, "Score: 10")) == right
    assert answer.startswith(f"The task is about the {job.item}, the attempt ")
