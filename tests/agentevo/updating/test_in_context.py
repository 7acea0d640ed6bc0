import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentevo.prompts import render_system
from agentevo.recall import Outcome, Turn
from agentevo.updating.in_context import InContextMemory, open_memory
from agentevo_memory import Draft, Provenance, VectorMemory
from agentevo_memory.operations.material import Scope
from agentevo_memory.reflectors import reflect_on_errors


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[InContextMemory]:
    opened = open_memory(tmp_path / "memory", "n", embedder="hashing")
    yield opened
    opened.close()


def outcome(episode: str, *, solved: bool = False, recalled: tuple[str, ...] = ()) -> Outcome:
    turn = Turn("run(command=move obj box)", "error:\n- w12 move is zabo", error=True)
    return Outcome(
        run_id="run-1",
        episode_id=episode,
        environment="quirks",
        task_id="t1",
        scope="w12",
        prompt="move the box to the attic",
        turns=(turn,),
        solved=solved,
        score=float(solved),
        recalled=recalled,
    )


def recall(
    memory: InContextMemory, query: str = "move the ball", scope: str = "w12", budget: int = 512
) -> Any:
    return memory.recall(query, environment="quirks", scope=scope, budget_tokens=budget)


def learn(memory: InContextMemory) -> str:
    memory.observe(outcome("run-1:t1"))
    done = memory.store.reflect(reflect_on_errors, Scope(namespace=("n",)))
    return done.steps[0].rule_id


def test_a_candidate_informs_and_a_verified_rule_instructs(memory: InContextMemory) -> None:
    rule = learn(memory)
    offered = {each.id: each for each in recall(memory)}
    assert not offered[rule].trusted
    assert "<memory>" in render_system("Do it.", list(offered.values()))
    memory.store.promote(rule, verifier="replay")
    prompt = render_system("Do it.", recall(memory))
    assert "\n- w12 move is zabo" in prompt.partition("<memory>")[0]


def test_on_trial_candidates_instruct(memory: InContextMemory) -> None:
    rule = learn(memory)
    trial = InContextMemory(memory.store, ("n",), on_trial=True)
    assert {each.id for each in recall(trial) if each.trusted} == {rule}


def test_rules_of_other_scopes_stay_away_and_general_ones_come(memory: InContextMemory) -> None:
    learn(memory)
    memory.store.insert(Draft(text="move slowly", kind="rule", namespace=("n",)))
    assert [each.text for each in recall(memory, scope="w99")] == ["move slowly"]
    texts = [each.text for each in recall(memory, scope="w12")]
    assert texts[:2] == ["w12 move is zabo", "move slowly"]


def test_an_outcome_is_an_experience_once(memory: InContextMemory) -> None:
    memory.observe(outcome("e1"))
    memory.observe(outcome("e1"))
    (record,) = memory.store.records()
    assert record.kind == "experience"
    assert (record.environment, record.scope, record.task_id) == ("quirks", "w12", "t1")
    assert record.outcome.verifier == "environment:quirks"
    assert json.loads(record.body)["turns"][0]["error"] is True


def test_what_was_in_the_prompt_is_credited_or_blamed_once(memory: InContextMemory) -> None:
    rule = learn(memory)
    for _ in range(2):
        memory.observe(outcome("e2", solved=True, recalled=(rule,)))
    memory.observe(outcome("e3", recalled=(rule,)))
    record = memory.store.get(rule)
    assert (record.uses, record.helped, record.harmed) == (2, 1, 1)
    assert memory.store.journal.edges(rule, rel="used_in_run") == [
        (rule, "used_in_run", "run:run-1")
    ]


def test_the_budget_is_kept(memory: InContextMemory) -> None:
    for number in range(20):
        memory.store.insert(
            Draft(
                text=f"rule number {number} of this world",
                kind="rule",
                namespace=("n",),
                environment="quirks",
                scope="w12",
            )
        )
    assert recall(memory, budget=0) == []
    assert len(recall(memory, budget=25)) == 2
    assert len(recall(memory)) == 8


def candidate(text: str) -> Draft:
    said = Provenance(origin="model", source="reflection")
    return Draft(
        text=text,
        kind="rule",
        namespace=("n",),
        environment="quirks",
        scope="w12",
        provenance=said,
    )


def test_without_notes_only_what_instructs_is_offered(memory: InContextMemory) -> None:
    memory.observe(outcome("e1"))
    for number in range(20):
        memory.store.insert(candidate(f"move the ball in way {number}"))
    kept = memory.store.insert(candidate("seal it first")).id
    memory.store.promote(kept, verifier="replay")
    assert not all(each.trusted for each in recall(memory))
    rules_alone = InContextMemory(memory.store, ("n",), notes=0)
    assert [each.id for each in recall(rules_alone)] == [kept]


@pytest.mark.parametrize("notes", [1, 3])
def test_no_more_notes_are_offered_than_allowed(notes: int, memory: InContextMemory) -> None:
    for number in range(5):
        memory.store.insert(candidate(f"move the ball in way {number}"))
    limited = InContextMemory(memory.store, ("n",), notes=notes)
    assert len(recall(limited)) == notes


def test_any_text_of_an_environment_is_survived(memory: InContextMemory) -> None:
    bad = Turn("run(\x00)", "lone \udc80 and \x1b[31m", error=True)
    given = outcome("e9")
    memory.observe(
        Outcome(
            **{
                **{name: getattr(given, name) for name in given.__slots__},
                "turns": (bad,),
                "prompt": "",
            }
        )
    )
    assert len(memory.store.records()) == 1
    assert recall(memory, query="\x00") is not None
    assert isinstance(memory.store, VectorMemory)
