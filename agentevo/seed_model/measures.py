"""What the seed model is measured by: prompts and verdicts of every row of its table.

Every arm plays fresh worlds of a reserved seed range, one task per world, greedily. The rules in
the prompts are made here; the tasks are those of the `quirks` environment.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Any

from langchain_core.language_models import BaseChatModel

from agentevo.seed_model.curriculum import HARDEST, LEVELS, Source
from agentevo.seed_model.episodes import OTHER_TOOLS, told_rules
from agentevo.seed_model.judgements import draw_judgement
from agentevo.seed_model.player import Played, ask, play, reflect
from agentevo_environments.packs.quirks import names
from agentevo_environments.packs.quirks.difficulty import Difficulty
from agentevo_environments.packs.quirks.tasks import job_of, make_tasks
from agentevo_environments.packs.quirks.worlds import (
    World,
    all_slots,
    draw_quirks,
    draw_value,
    is_held_out,
    is_held_out_combination,
    kind_of,
)
from agentevo_environments.task import Task

HELD_OUT = "held out: "
"""What the names of measures begin with that show what pre-training never did."""
DISTRACTORS = 8
ACTIONS = 10
OVERSAMPLING = 8


@dataclass(frozen=True, slots=True)
class Measure:
    """One row of the table.

    Attributes:
        name: What is measured.
        goal: What it should be, as text; empty when nothing is asked.
        difficulty: The worlds it is measured in.
        verdict: Plays one task and returns (success, the played episode).
        counts: Which tasks are played; by default those without held-out kinds or combinations.
    """

    name: str
    goal: str
    difficulty: Difficulty
    verdict: Callable[[BaseChatModel, Task, Random], tuple[bool, Played]]
    counts: Callable[[Task], bool] = lambda task: not is_held_out(met_slots(task))


def world_of(task: Task) -> World:
    """Return the world of a task."""
    fields: Any = task.data["world"]
    return World(**fields)


def touched(task: Task) -> list[str]:
    """Return the slots that a task touches."""
    job = job_of(task)
    return [*job.slots, *job.hard_slots]


def met_slots(task: Task) -> list[str]:
    """Return the slots of the quirks that a task meets."""
    quirks = world_of(task).quirks
    return [slot for slot in touched(task) if slot in quirks]


def right_rules(task: Task) -> list[str]:
    """Return the rules that a task needs."""
    world = world_of(task)
    return [world.rule(slot) for slot in met_slots(task)]


def distractors(task: Task, count: int, random: Random) -> list[str]:
    """Return true-looking rules of the same world about slots that the task does not touch."""
    world = world_of(task)
    others = random.sample(sorted(set(all_slots()) - set(touched(task))), count)
    drawn = World(world.name, draw_quirks(random, others, reserved=True))
    return [drawn.rule(slot) for slot in others]


def foreign_rules(task: Task, count: int, random: Random) -> list[str]:
    """Return rules of other worlds about slots that the task touches."""
    rules = []
    for _ in range(count):
        name = names.draw_name(random, reserved=True).capitalize()
        slot = random.choice(job_of(task).slots)
        rules.append(World(name, draw_quirks(random, [slot], reserved=True)).rule(slot))
    return rules


def older_rules(task: Task, random: Random) -> list[str]:
    """Return outdated rules that contradict the ones that a task needs."""
    world, rules = world_of(task), []
    for slot in met_slots(task):
        value = draw_value(random, slot, reserved=True)
        while value == world.quirks[slot]:
            value = draw_value(random, slot, reserved=True)
        rules.append(World(world.name, {slot: value}).rule(slot))
    return rules


def _first(
    model: BaseChatModel, task: Task, rules: Sequence[str], offered: Sequence[str] = ("run",)
) -> tuple[bool, Played]:
    played = play(model, task, rules, actions=ACTIONS, errors=1, offered=offered)
    return played.at_once, played


def _shuffled(random: Random, *groups: Sequence[str]) -> list[str]:
    rules = [rule for group in groups for rule in group]
    random.shuffle(rules)
    return rules


def no_memory(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt without rules."""
    del random
    return _first(model, task, [])


def among_distractors(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with the right rules among eight others of the same world."""
    more = distractors(task, DISTRACTORS, random)
    return _first(model, task, _shuffled(random, right_rules(task), more))


def recovery(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """No rules, but as many attempts as the step limit allows."""
    del random
    played = play(model, task, actions=ACTIONS, errors=ACTIONS)
    return played.solved, played


def reflection(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """Exactly the rules that the errors of an episode told."""
    del random
    played = play(model, task, actions=ACTIONS, errors=ACTIONS)
    told = told_rules(played.turns)
    rules = reflect(model, task, played)
    return rules is not None and set(rules) == set(told), played


def other_worlds(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with the right rules among four rules of other worlds on the same subjects."""
    foreign = foreign_rules(task, 4, random)
    return _first(model, task, _shuffled(random, right_rules(task), foreign))


def documented(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt in a world without quirks, with four rules of other worlds in the prompt."""
    plain = World(world_of(task).name).as_json()
    task = Task(task.id, task.prompt, task.scope, task.split, {**task.data, "world": plain})
    return _first(model, task, foreign_rules(task, 4, random))


def conflicts(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with every right rule after an older one that contradicts it."""
    older = _shuffled(random, older_rules(task, random))
    return _first(model, task, [*older, *_shuffled(random, right_rules(task))])


def outdated(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """Only outdated rules in the prompt; the errors tell what holds now."""
    fields: dict[str, Any] = world_of(task).as_json()
    stale = older_rules(task, random)
    fields["before"] = {
        slot: rule.rsplit(" ", 1)[1] for slot, rule in zip(met_slots(task), stale, strict=True)
    }
    task = Task(task.id, task.prompt, task.scope, task.split, {**task.data, "world": fields})
    played = play(model, task, stale, actions=ACTIONS, errors=ACTIONS)
    return played.solved, played


def own_rules(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with the model's own rules among distractors, after it learnt from errors."""
    learnt = play(model, task, actions=ACTIONS, errors=ACTIONS)
    rules = reflect(model, task, learnt) or []
    more = distractors(task, DISTRACTORS, random)
    solved, played = _first(model, task, _shuffled(random, rules, more))
    return solved, played


def several_tools(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with the right rules while three other tools are offered as well."""
    offered = ["run", *random.sample(OTHER_TOOLS, 3)]
    random.shuffle(offered)
    return _first(model, task, _shuffled(random, right_rules(task)), offered)


def judgement(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """The exact mark or critique of an attempt, asked as the runtime asks."""
    source = Source(random, LEVELS[HARDEST], reserved=True)
    asked = draw_judgement(source, task.prompt, job_of(task))
    answer, played = ask(model, asked.question)
    return answer.strip() == "".join(text for text, _ in asked.answer), played


def with_rules(model: BaseChatModel, task: Task, random: Random) -> tuple[bool, Played]:
    """One attempt with the right rules alone."""
    return _first(model, task, _shuffled(random, right_rules(task)))


_BASIC = Difficulty(tasks_per_world=1)
_DENSE = Difficulty(
    tasks_per_world=1,
    quirks_per_world=30,
    fewest_per_task=2,
    most_per_task=4,
    combinations="any",
)
_HARD = Difficulty(tasks_per_world=1, tier="hard")


def _combination(task: Task) -> bool:
    return is_held_out_combination(met_slots(task))


def _kind(kind: str) -> Callable[[Task], bool]:
    return lambda task: any(kind_of(slot) == kind for slot in met_slots(task))


MEASURES = (
    Measure("no memory, one attempt", "<= 0.10", _BASIC, no_memory),
    Measure("right rules among 8 distractors", ">= 0.95", _BASIC, among_distractors),
    Measure("recovery from explicit errors", "", _BASIC, recovery),
    Measure("reflection gives exactly the right rules", ">= 0.95", _BASIC, reflection),
    Measure("right rules among 4 of other worlds", ">= 0.95", _BASIC, other_worlds),
    Measure("4 rules of other worlds, none needed", ">= 0.95", _BASIC, documented),
    Measure("newest of two conflicting rules wins", ">= 0.90", _BASIC, conflicts),
    Measure("outdated rules, corrected by errors", "", _BASIC, outdated),
    Measure("own rules among 8 distractors", "", _BASIC, own_rules),
    Measure("right rules, 4 tools offered", "", _BASIC, several_tools),
    Measure("judges and criticises attempts", "", _BASIC, judgement),
    Measure("held out: combinations", "", _DENSE, among_distractors, _combination),
    Measure("held out: kind offset", "", _HARD, with_rules, _kind("offset")),
    Measure("held out: kind condition", "", _HARD, with_rules, _kind("condition")),
    Measure(
        "held out: recovery, feedback expected",
        "",
        Difficulty(tasks_per_world=1, feedback="expected"),
        recovery,
    ),
    Measure(
        "held out: recovery, feedback pass_fail",
        "",
        Difficulty(tasks_per_world=1, feedback="pass_fail"),
        recovery,
    ),
)


def tasks_for(measure: Measure, count: int, seed: int, split: str = "test") -> Sequence[Task]:
    """Return the first `count` tasks of a split that count for a measure."""
    tasks = make_tasks(measure.difficulty, split, count * OVERSAMPLING, seed)
    return list(islice(filter(measure.counts, tasks), count))


def by_name() -> Mapping[str, Measure]:
    """Return the measures by name."""
    return {measure.name: measure for measure in MEASURES}
