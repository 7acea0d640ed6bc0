"""What a round leaves in memory: experiences, verified rules, lessons, and what is let go."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from agentevo.acquisition.feedback import EnvironmentFeedback
from agentevo.acquisition.run_agent import RunAgent
from agentevo.evolution.exam import History
from agentevo.objective import Objective
from agentevo.recall import Memory, Outcome, Turn
from agentevo.stages import Experience, Feedback, Round, Solution
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.keeping import Forget, Insert, Resolve
from agentevo.updating.reflection import ModelReflector, ReflectRules, ReflectVerbally
from agentevo.updating.trial import OnTrial, Replay
from agentevo_environments.task import Task, TaskId
from agentevo_memory import Policy
from agentevo_memory.journal import Selection
from agentevo_memory.reflectors import reflect_on_errors
from agentevo_memory.retrieval import count_tokens

NOW = Round(1, Objective("quirks"), seed=0)
WORLD = "Moki"


def experience(name: str, *errors: str, solved: bool = False, run: str = "r") -> Experience:
    turns = tuple(Turn("run x", f"error:\n- {text}", True) for text in errors)
    turns += (Turn("run y", "ok", False),) if solved else ()
    task = Task(TaskId(name), f"In {WORLD}: {name}.", scope=WORLD)
    outcome = Outcome(
        run, f"{run}:{name}", "quirks", name, WORLD, task.prompt, turns, solved, float(solved)
    )
    solution = Solution(task, "", outcome)
    return Experience(solution, (EnvironmentFeedback().assess(solution),))


def replay_by(needed: Mapping[str, Sequence[str]]) -> tuple[list[list[str]], Replay]:
    """A replay in which a task succeeds once all that it needs is told, and a log of it."""
    log: list[list[str]] = []

    def replay(tasks: Sequence[Task], memory: Memory) -> Mapping[str, Outcome]:
        done = {}
        for task in tasks:
            told = memory.recall(
                task.prompt, environment="quirks", scope=task.scope, budget_tokens=400
            )
            texts = [entry.text for entry in told if entry.trusted]
            log.append([task.id, *texts])
            missing = [rule for rule in needed[task.id] if rule not in texts]
            outcome = experience(task.id, *missing, solved=not missing).solution.outcome
            assert outcome is not None
            done[str(task.id)] = outcome
        return done

    return log, replay


def rules(memory: InContextMemory, *statuses: str) -> set[str]:
    chosen = Selection(namespace=memory.namespace, kinds=("rule",))
    return {r.text for r in memory.store.records(chosen) if not statuses or r.status in statuses}


MOVE, LIFT = f"In {WORLD} move is zabo", f"In {WORLD} lift needs warm"


def reflect(
    memory: InContextMemory, replay: Replay | None, *, resolve: bool = True
) -> ReflectRules:
    return ReflectRules(
        memory, "quirks", reflect_on_errors, "errors@1", replay=replay, resolve=resolve
    )


def test_an_episode_is_stored_once_and_credits_what_it_recalled(memory: InContextMemory) -> None:
    first = experience("move", MOVE)
    Insert(memory, "quirks").update([first], NOW)
    rule = memory.store.insert("use zabo").id
    assert first.solution.outcome is not None
    helped = replace(
        experience("lift", solved=True),
        solution=replace(
            first.solution,
            outcome=replace(first.solution.outcome, episode_id="x", solved=True, recalled=(rule,)),
        ),
    )
    for _ in range(2):
        Insert(memory, "quirks").update([first, helped], NOW)
    assert len(memory.store.records(Selection(kinds=("experience",)))) == 2
    assert (memory.store.get(rule).uses, memory.store.get(rule).helped) == (1, 1)


def test_an_answer_that_no_environment_ran_is_stored_with_its_score(
    memory: InContextMemory,
) -> None:
    task = Task(TaskId("q"), "What is 1 + 1?")
    given = Experience(Solution(task, "2"), (Feedback("match", 1.0),))
    assert Insert(memory, "quirks").update([given], NOW).counts == {"inserted": 1}
    (record,) = memory.store.records()
    assert (record.kind, record.outcome.success, record.task_id) == ("experience", True, "q")


def test_a_rule_instructs_once_its_case_went_better_with_it(memory: InContextMemory) -> None:
    failed = [experience("move", MOVE), experience("lift", LIFT, "In Moki cup is odd")]
    log, replay = replay_by({"move": [MOVE], "lift": ["something never told"]})
    Insert(memory, "quirks").update(failed, NOW)
    receipt = reflect(memory, replay).update(failed, NOW)
    assert receipt.counts == {"rules": 3, "verified": 1, "refused": 0}
    assert rules(memory, "active") == {MOVE}
    assert rules(memory, "candidate") == {LIFT, "In Moki cup is odd"}
    assert {entry[0] for entry in log} == {"move", "lift"}
    assert all({MOVE, LIFT} <= set(entry) for entry in log), (
        "all rules of a scope are tried at once"
    )


def test_a_candidate_is_promoted_when_a_later_trial_helps(memory: InContextMemory) -> None:
    failed = [experience("lift", LIFT)]
    Insert(memory, "quirks").update(failed, NOW)
    reflect(memory, None).update(failed, NOW)
    assert rules(memory, "candidate") == {LIFT}
    again = [experience("lift", LIFT, run="second")]
    Insert(memory, "quirks").update(again, NOW)
    receipt = reflect(memory, replay_by({"lift": [LIFT]})[1]).update(again, NOW)
    assert receipt.counts["verified"] == 1
    assert rules(memory, "active") == {LIFT}


def test_a_rule_that_made_its_case_worse_is_quarantined(memory: InContextMemory) -> None:
    partly = experience("move", MOVE)
    assert partly.solution.outcome is not None
    half = replace(partly.solution, outcome=replace(partly.solution.outcome, score=0.5))
    given = [replace(partly, solution=half)]
    Insert(memory, "quirks").update(given, NOW)
    receipt = reflect(memory, replay_by({"move": ["else"]})[1]).update(given, NOW)
    assert receipt.counts["refused"] == 1
    assert rules(memory, "quarantined") == {MOVE}


def test_a_verified_rule_replaces_the_older_one_on_the_same_matter(
    memory: InContextMemory,
) -> None:
    for text in (MOVE, f"In {WORLD} move is dage"):
        given = [experience("move", text, run=text)]
        Insert(memory, "quirks").update(given, NOW)
        reflect(memory, replay_by({"move": [text]})[1]).update(given, NOW)
    assert rules(memory, "active") == {f"In {WORLD} move is dage"}
    assert rules(memory, "superseded") == {MOVE}


def test_an_unverified_rule_never_replaces_one_that_instructs(memory: InContextMemory) -> None:
    first = [experience("move", MOVE)]
    Insert(memory, "quirks").update(first, NOW)
    reflect(memory, replay_by({"move": [MOVE]})[1]).update(first, NOW)
    second = [experience("move", f"In {WORLD} move is dage", run="second")]
    Insert(memory, "quirks").update(second, NOW)
    reflect(memory, replay_by({"move": ["never"]})[1]).update(second, NOW)
    assert rules(memory, "active") == {MOVE}
    assert rules(memory) == {MOVE}


def test_without_resolving_rules_on_the_same_matter_pile_up(memory: InContextMemory) -> None:
    for text in (MOVE, f"In {WORLD} move is dage"):
        given = [experience("move", text, run=text)]
        Insert(memory, "quirks").update(given, NOW)
        update = reflect(memory, replay_by({"move": [text]})[1], resolve=False)
        update.update(given, NOW)
    assert len(rules(memory, "active")) == 2


def test_rules_on_trial_are_told_first_within_the_budget(memory: InContextMemory) -> None:
    trial = OnTrial(memory, {WORLD: (MOVE, LIFT)})
    asked = {"environment": "quirks", "scope": WORLD}
    assert [e.text for e in trial.recall("x", **asked, budget_tokens=400)] == [MOVE, LIFT]
    assert len(trial.recall("x", **asked, budget_tokens=9)) < 2
    assert trial.recall("x", environment="quirks", scope="Elsewhere", budget_tokens=400) == []


def test_the_model_reflects_on_errors_and_agrees_with_what_it_finds_again(
    memory: InContextMemory,
) -> None:
    asked = []

    def ask(prompt: str, *, system: str = "") -> str:
        asked.append((system, prompt))
        return f'{{"rules": ["{MOVE}"]}}' if "zabo" in prompt else "no JSON at all"

    given = [experience("move", MOVE), experience("lift", LIFT), experience("ok", solved=True)]
    Insert(memory, "quirks").update(given, NOW)
    update = ReflectRules(memory, "quirks", ModelReflector(ask), "model@1")
    assert update.update(given, NOW).counts["rules"] == 1
    assert len(asked) == 2, "only attempts with errors are reflected on"
    Insert(memory, "quirks").update([experience("move", MOVE, run="second")], NOW)
    assert update.update([], NOW).counts["rules"] == 0
    assert rules(memory) == {MOVE}


def test_the_history_arm_shows_the_latest_episodes_at_the_tokens_of_the_memory(
    memory: InContextMemory,
) -> None:
    failed = [experience("move", MOVE), experience("lift", LIFT)]
    Insert(memory, "quirks").update(failed, NOW)
    reflect(memory, replay_by({"move": [MOVE], "lift": [LIFT]})[1]).update(failed, NOW)
    episodes = [entry.solution.outcome for entry in failed if entry.solution.outcome]
    asked: dict[str, Any] = {"environment": "quirks", "scope": WORLD, "budget_tokens": 400}
    used = sum(count_tokens(e.text) for e in memory.recall("In Moki: move.", **asked))
    shown = History(episodes, memory).recall("In Moki: move.", **asked)
    assert 0 < sum(count_tokens(entry.text) for entry in shown) <= used
    assert shown[0].text.startswith("Task: In Moki: move.")
    assert not any(entry.trusted for entry in shown)


def test_lessons_are_kept_once_per_failure_and_never_instruct(memory: InContextMemory) -> None:
    given = [experience("move", MOVE), experience("ok", solved=True)]
    update = ReflectVerbally(memory, lambda prompt, system="": "Say zabo,\nnot move.")
    assert [update.update(given, NOW).counts["lessons"] for _ in range(2)] == [1, 1]
    (record,) = memory.store.records()
    assert (record.text, record.kind) == ("Say zabo, not move.", "summary")
    told = memory.recall("move", environment="quirks", scope=WORLD, budget_tokens=400)
    assert [entry.kind for entry in told] == ["summary"]


def test_forgetting_follows_the_policy_and_resolving_supersedes_the_weaker(
    memory: InContextMemory,
) -> None:
    for text in ("the lamp is never red", "the lamp is red", "a cup is blue"):
        memory.store.insert(text)
    assert Resolve(memory).update([], NOW).counts == {"resolved": 1}
    done = Forget(memory, Policy(name="fifo", keep=1)).update([], NOW)
    assert (done.counts, done.note) == ({"forgotten": 1}, "fifo")
    left = memory.store.records(Selection(statuses=("active",)))
    assert [record.text for record in left] == ["a cup is blue"]


@pytest.mark.slow
def test_rules_learnt_in_quirks_solve_the_same_tasks(
    agent: RunAgent, tasks: Sequence[Task], memory: InContextMemory
) -> None:
    some = tasks[:8]
    before = agent.attempt(some, label="before", recall=False)
    given = []
    for task in some:
        solution = Solution(task, "", before[task.id])
        given.append(Experience(solution, (EnvironmentFeedback().assess(solution),)))
    Insert(memory, "quirks").update(given, NOW)

    def replay(cases: Sequence[Task], on_trial: Memory) -> Mapping[str, Outcome]:
        return agent.with_memory(on_trial).attempt(cases, label="replay")

    receipt = reflect(memory, replay).update(given, NOW)
    after = agent.with_memory(memory).attempt(some, label="after")
    assert not any(outcome.solved for outcome in before.values())
    assert receipt.counts["verified"] >= 4
    assert sum(outcome.solved for outcome in after.values()) >= 6
