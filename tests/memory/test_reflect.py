import json
from collections.abc import Sequence

import pytest

from agentevo_memory import Draft, Outcome, Provenance, RecordError, VectorMemory, Verdict
from agentevo_memory.operations.material import Material, Scope
from agentevo_memory.operations.reflect import RuleOperation
from agentevo_memory.reflectors import reflect_on_errors


def experience(memory: VectorMemory, task: str, observation: str, *, success: bool = False) -> str:
    body = json.dumps({"turns": [{"action": "run()", "observation": observation, "error": True}]})
    return memory.insert(
        Draft(
            text=f"Task {task}",
            kind="experience",
            body=body,
            environment="quirks",
            scope="w1",
            task_id=task,
            outcome=Outcome(success=success, verifier="environment:quirks"),
            provenance=Provenance(origin="environment", run_id="run-1"),
        )
    ).id


def test_successes_and_failures_of_a_task_stand_side_by_side(memory: VectorMemory) -> None:
    failed = experience(memory, "t1", "no")
    solved = experience(memory, "t1", "ok", success=True)
    seen: list[Material] = []

    def reflector(material: Material) -> Sequence[RuleOperation]:
        seen.append(material)
        return []

    memory.reflect(reflector)
    contrast = seen[0].contrasts[0]
    assert [record.id for record in contrast.failures] == [failed]
    assert [record.id for record in contrast.successes] == [solved]


def test_statements_of_errors_become_candidate_rules_with_their_evidence(
    memory: VectorMemory,
) -> None:
    failed = experience(memory, "t1", "error:\n- w1 move is zabo\n- w1 send needs seal")
    preview = memory.reflect(reflect_on_errors, dry_run=True)
    assert preview.diff() == "+ w1 move is zabo\n+ w1 send needs seal"
    assert memory.journal.head() == 1
    done = memory.reflect(reflect_on_errors)
    rule = memory.get(done.steps[0].rule_id)
    assert (rule.status, rule.trust, rule.scope) == ("candidate", 0.2, "w1")
    assert rule.provenance.parents == (failed,)
    assert not rule.may_instruct


def test_the_same_experiences_are_reflected_on_once(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    first = memory.reflect(reflect_on_errors)
    head = memory.journal.head()
    again = memory.reflect(reflect_on_errors)
    assert (first.repeated, again.repeated, again.steps) == (False, True, ())
    assert memory.journal.head() == head


def test_a_later_statement_on_the_same_matter_supersedes_the_rule(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    old = memory.reflect(reflect_on_errors).steps[0].rule_id
    experience(memory, "t2", "error:\n- w1 move is kiru")
    memory.journal.query("SELECT 1")
    rules = [RuleOperation(verb="ADD", text="w1 move is kiru", key="w1 move is")]
    new = memory.reflect(lambda material: rules, reflector_id="fixed").steps[0]
    assert new.action == "superseded"
    assert memory.get(old).status == "superseded"


def test_agree_edit_and_remove_move_the_votes(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    rule = memory.reflect(reflect_on_errors).steps[0].rule_id

    def say(verb: str, text: str = "", rule_id: str = "") -> None:
        operation = RuleOperation(verb=verb, text=text, rule_id=rule_id or rule)  # type: ignore[arg-type]
        memory.reflect(lambda material: [operation], reflector_id=f"{verb}{memory.journal.head()}")

    say("AGREE")
    assert memory.get(rule).data["votes"] == 3
    for _ in range(3):
        say("REMOVE")
    assert memory.get(rule).status == "dormant"


def test_edit_keeps_the_old_rule_as_a_parent(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    rule = memory.reflect(reflect_on_errors).steps[0].rule_id
    edit = RuleOperation(verb="EDIT", rule_id=rule, text="w1 move is zabo, never move")
    step = memory.reflect(lambda material: [edit], reflector_id="edit").steps[0]
    assert step.before == "w1 move is zabo"
    assert rule in memory.get(step.rule_id).provenance.parents


def test_one_bad_proposal_writes_nothing(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    head = memory.journal.head()
    proposals = [
        RuleOperation(verb="ADD", text="fine"),
        RuleOperation(verb="AGREE", rule_id="nobody"),
    ]
    with pytest.raises(RecordError, match="was not in the material"):
        memory.reflect(lambda material: proposals)
    with pytest.raises(RecordError, match="were not in the material"):
        memory.reflect(lambda material: [RuleOperation(verb="ADD", text="x", parents=("nobody",))])
    assert memory.journal.head() == head


def test_a_rule_that_passes_its_replay_is_active_at_once(memory: VectorMemory) -> None:
    experience(memory, "t1", "error:\n- w1 move is zabo")
    done = memory.reflect(
        reflect_on_errors, Scope(scope="w1"), verify=lambda draft: Verdict(True, "replay", "3 of 3")
    )
    assert memory.get(done.steps[0].rule_id).may_instruct


def test_suggestions_in_plain_errors_are_understood(memory: VectorMemory) -> None:
    experience(memory, "t1", "error: unknown command 'move', use 'zabo'")
    assert memory.reflect(reflect_on_errors, dry_run=True).diff() == "+ use zabo instead of move"


def test_nothing_to_reflect_on_is_no_operation(memory: VectorMemory) -> None:
    assert memory.reflect(reflect_on_errors).operation == 0
