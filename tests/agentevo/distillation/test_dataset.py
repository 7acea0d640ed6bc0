"""Only verified, trusted, fresh experience becomes a row, and every row knows where it comes from."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.distillation.dataset import (
    DatasetSettings,
    Practice,
    Probe,
    Tools,
    build_dataset,
    describe,
)
from agentevo.distillation.decontamination import Decontaminator
from agentevo.distillation.rows import Message
from agentevo.errors import AdapterError

RULE = "In Moki, the command for move is zabo."
SOLVED = Practice(
    run_id="run",
    episode_id="run:1",
    scope="Moki",
    prompt="In Moki: move the box.",
    system=f"You operate a machine.\nRules:\n- {RULE}",
    bare_system="You operate a machine.",
    rule_ids=("r1",),
    trust=0.9,
    messages=(
        {"role": "user", "content": "In Moki: move the box."},
        {"role": "assistant", "content": "zabo obj=box"},
    ),
    solved=True,
)
PROBE = Probe("scope", "Ruvi", "You operate a machine.", ({"role": "user", "content": "move it"},))


def base(system: str, messages: Sequence[Message], tools: Tools) -> Message:
    return {"role": "assistant", "content": f"base answers {messages[-1]['content']}"}


def test_the_rules_move_from_the_students_prompt_to_the_teachers() -> None:
    dataset = build_dataset([SOLVED], [], base)
    target, with_rules = dataset.rows
    assert RULE in target.teacher_system
    assert RULE not in target.student_system
    assert RULE in with_rules.student_system
    assert target.lineage.record_ids == ("r1",)
    assert dataset.rule_ids == dataset.record_ids() == ("r1",)


def test_what_must_not_change_is_answered_by_the_base() -> None:
    row = build_dataset([SOLVED], [PROBE], base).rows[-1]
    assert (row.kind, row.teacher_system == row.student_system) == ("scope", True)
    assert row.messages[-1]["content"] == "base answers move it"


@pytest.mark.parametrize(
    ("episode", "reason"),
    [
        (replace(SOLVED, solved=False), "not solved"),
        (replace(SOLVED, rule_ids=()), "no rules in the prompt"),
        (replace(SOLVED, trust=0.1), "rules not trusted enough"),
        (replace(SOLVED, errors=1), "solved only after errors"),
        (SOLVED, "same task as an earlier episode"),
    ],
)
def test_other_experience_is_left_out_with_its_reason(episode: Practice, reason: str) -> None:
    dataset = build_dataset([SOLVED, episode], [], base)
    assert dataset.left_out == {reason: 1}
    assert dataset.counts()["target"] == 1


TOLD_MORE = replace(SOLVED, prompt="In Moki: lift the jar.", told_more=True)


def test_an_episode_that_also_had_other_texts_counts_if_its_rules_alone_suffice() -> None:
    def same(system: str, messages: Sequence[Message], tools: Tools) -> Message:
        assert system == SOLVED.system
        return {"role": "assistant", "content": "zabo obj=box"}

    dataset = build_dataset([SOLVED, TOLD_MORE], [], same)
    assert dataset.counts()["target"] == 1, "the two rows are equal"
    assert dataset.left_out == {"duplicate row": 2}
    assert build_dataset([SOLVED, TOLD_MORE], [], base).left_out == {
        "needs what may not be taught": 1
    }


def test_a_conversation_that_the_base_led_is_kept_as_it_is() -> None:
    led = replace(PROBE, kind="replay", messages=SOLVED.messages)
    row = build_dataset([SOLVED], [led], base).rows[-1]
    assert (row.messages, row.lineage.real) == (SOLVED.messages, True)


def test_nothing_verified_is_an_error_that_names_the_reasons() -> None:
    with pytest.raises(AdapterError, match=r"not solved \(1\).*Run tasks with memory"):
        build_dataset([replace(SOLVED, solved=False)], [], base)


def test_failed_attempts_are_paired_with_the_verified_one() -> None:
    failed = replace(SOLVED, solved=False, messages=(SOLVED.messages[0], dict(PROBE.messages[0])))
    wrong = replace(failed, messages=(SOLVED.messages[0], {"role": "assistant", "content": "no"}))
    rows = build_dataset([SOLVED, wrong, failed], [], base).rows
    [rejected] = [row for row in rows if row.kind == "rejected"]
    assert rejected.pair == rows[0].id


@pytest.mark.parametrize(
    "leaked",
    [
        "in MOKI: move the box",
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
    ],
)
def test_evaluation_items_never_become_rows(leaked: str) -> None:
    evaluation = Decontaminator(
        [
            "In Moki: move the box.",
            "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
        ]
    )
    dataset = build_dataset(
        [replace(SOLVED, prompt="In Moki: lift the jar."), replace(SOLVED, prompt=leaked)],
        [],
        base,
        evaluation=evaluation,
    )
    assert dataset.counts()["target"] == 1
    assert sum(dataset.left_out.values()) == 1


def test_texts_of_the_same_meaning_leak_too() -> None:
    import numpy as np

    def embed(texts: Sequence[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "box" in text else [0.0, 1.0] for text in texts])

    evaluation = Decontaminator(["carry the box"], embed=embed)
    assert evaluation.leak_in("transport a box")
    assert evaluation.leak_in("transport a jar") is None


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0, 1))
def test_no_unverified_or_untrusted_episode_ever_becomes_a_row(
    solved: list[bool], trust: float
) -> None:
    practice = [SOLVED] + [
        replace(SOLVED, prompt=f"task {i}", episode_id=f"run:{i}", solved=value, trust=trust)
        for i, value in enumerate(solved)
    ]
    dataset = build_dataset(practice, [], base, settings=DatasetSettings(minimum_trust=0.5))
    learnt = [row for row in dataset.rows if row.kind in ("target", "with_rules")]
    assert all(row.lineage.verified and row.lineage.trust >= 0.5 for row in learnt)


def test_the_plan_shows_counts_reasons_and_samples() -> None:
    plan = describe(build_dataset([SOLVED, replace(SOLVED, errors=2)], [PROBE], base))
    assert plan["rows"] == {"target": 1, "with_rules": 1, "scope": 1}
    assert plan["left_out"] == {"solved only after errors": 1}
    assert "zabo obj=box" in plan["samples"]["target"][0]
