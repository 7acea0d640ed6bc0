"""What `bench_distillation.py` measures: practice, replay and the columns of its table, on quirks.

The rules are those that hold (no reflection, so that what is measured is the distillation alone); the
agent's own episodes with them are what is learnt. Everything is played greedily through llama.cpp.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import chain
from random import Random
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_openai_messages,
)

from agentevo.distillation.dataset import Practice, Probe
from agentevo.distillation.replay import reflection_probe
from agentevo.prompts import render_reflection
from agentevo.seed_model.episodes import system_text
from agentevo.seed_model.measures import (
    by_name,
    distractors,
    met_slots,
    older_rules,
    right_rules,
    world_of,
)
from agentevo.seed_model.player import TOOL, play
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.difficulty import Difficulty
from agentevo_environments.packs.quirks.tasks import make_tasks
from agentevo_environments.packs.quirks.worlds import World
from agentevo_environments.task import Task

ONE_EACH = Difficulty(tasks_per_world=1)
REFLECTION = "reflection gives exactly the right rules"
ACTIONS = 6
QUIRKS = 8
"""Of each world, so many rules does one scope have."""

Rules = Sequence[str]
Item = tuple[Task, Rules]
"""A task and the rules in its prompt."""
Result = tuple[int, int]
"""Successes and trials."""


@dataclass(slots=True)
class Player:
    """Plays many tasks at once with one model."""

    model: BaseChatModel
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def at_once(self, items: Sequence[Item]) -> Result:
        """Return how many tasks were solved without any error."""
        played = self._pool.map(
            lambda item: play(self.model, *item, actions=ACTIONS, errors=1).at_once, items
        )
        return sum(played), len(items)

    def reflections(self, tasks: Sequence[Task]) -> Result:
        """Return how many reflections gave exactly the rules that the errors told."""
        verdict = by_name()[REFLECTION].verdict
        right = self._pool.map(lambda task: verdict(self.model, task, Random(1))[0], tasks)
        return sum(right), len(tasks)

    def map(self, do: Callable[[BaseChatModel, Any], Any], values: Sequence[Any]) -> list[Any]:
        """Return what `do` returns for each value."""
        return list(self._pool.map(lambda value: do(self.model, value), values))


@dataclass(frozen=True, slots=True)
class Exam:
    """The scopes to learn and everything that they are judged by.

    Attributes:
        worlds: The tasks of each scope: practised, and new ones whose prompts are not practised.
        columns: Tasks with the rules in their prompts, by column.
        reflections: Tasks for the reflection column.
    """

    worlds: Mapping[str, tuple[Sequence[Task], Sequence[Task]]]
    columns: Mapping[str, Sequence[Item]]
    reflections: Sequence[Task]

    @property
    def practised(self) -> list[Task]:
        """The practised tasks of all scopes."""
        return list(chain.from_iterable(pair[0] for pair in self.worlds.values()))

    def take(self, player: Player) -> dict[str, Result]:
        """Return successes and trials of every column."""
        results = {name: player.at_once(items) for name, items in self.columns.items()}
        return results | {"reflection": player.reflections(self.reflections)}

    def names(self) -> set[str]:
        """Return every scope name that is used."""
        told = chain.from_iterable(self.columns.values())
        return {task.scope for task, _ in told} | {task.scope for task in self.reflections}


def make_exam(split: str, seed: int, *, scopes: int, tasks: int, size: int) -> Exam:
    """Draw an exam.

    Args:
        split: Of the quirks environment; "validation" to choose by, "test" to report.
        seed: Of all draws.
        scopes: Worlds to learn at once.
        tasks: Practised tasks of each world, and as many new ones.
        size: Tasks of the columns of other scopes.
    """
    random = Random(f"exam {split} {seed}")
    known = Difficulty(quirks_per_world=QUIRKS, tasks_per_world=4 * tasks)
    worlds: dict[str, tuple[Sequence[Task], Sequence[Task]]] = {}
    drawn = make_tasks(known, split, scopes * 4 * tasks, seed)
    for start in range(0, len(drawn), 4 * tasks):
        own = drawn[start : start + 4 * tasks]
        seen = {task.prompt for task in own[:tasks]}
        new = [task for task in own[tasks:] if task.prompt not in seen][:tasks]
        worlds[own[0].scope] = (own[:tasks], new)
    others = make_tasks(ONE_EACH, split, 2 * size, seed + 1000)
    told = [(t, _mixed(random, right_rules(t), distractors(t, 5, random))) for t in others[:size]]
    practised = [task for pair in worlds.values() for task in pair[0]]
    new_tasks = [task for pair in worlds.values() for task in pair[1]]
    columns: dict[str, Sequence[Item]] = {
        "no rules, practised": [(task, ()) for task in practised],
        "no rules, new tasks": [(task, ()) for task in new_tasks],
        "other scopes with rules": told,
        "no leak": [(_plain(task, random, worlds), ()) for task in new_tasks],
        "contradicting prompt wins": [_contradicted(task, random) for task in new_tasks],
        "with rules": [(task, _mixed(random, all_rules(task))) for task in new_tasks],
    }
    return Exam(worlds, columns, others[size : 2 * size])


def all_rules(task: Task) -> list[str]:
    """Return every rule of a task's world."""
    world = world_of(task)
    return [world.rule(slot) for slot in world.quirks]


def _mixed(random: Random, *groups: Rules) -> list[str]:
    rules = [rule for group in groups for rule in group]
    random.shuffle(rules)
    return rules


def _plain(task: Task, random: Random, taught: Mapping[str, Any]) -> Task:
    """Return a task as it is in a service without quirks, under a name that nobody knows."""
    name = next(iter(taught))
    while name in taught:
        name = names.draw_name(random, reserved=True).capitalize()
    return _in_world(task, World(name))


def _contradicted(task: Task, random: Random) -> Item:
    """Return a task whose world has changed, with rules that say so, among others that hold."""
    world, changed = world_of(task), older_rules(task, random)
    values = {slot: rule.rsplit(" ", 1)[1] for slot, rule in zip(met_slots(task), changed)}  # noqa: B905
    moved = replace(world, quirks={**world.quirks, **values})
    return _in_world(task, moved), _mixed(random, changed, distractors(task, 5, random))


def _in_world(task: Task, world: World) -> Task:
    prompt = task.prompt.replace(task.scope, world.name)
    return Task(task.id, prompt, world.name, task.split, {**task.data, "world": world.as_json()})


def practise(model: BaseChatModel, task: Task, rules: Rules, ids: Sequence[str]) -> Practice:
    """Return the episode of one task with rules in the prompt."""
    system = system_text(rules)
    messages, solved, errors = _lead(model, task, system)
    return Practice(
        run_id="bench",
        episode_id=f"bench:{task.id}",
        scope=task.scope,
        prompt=task.prompt,
        system=system,
        bare_system=system_text(()),
        rule_ids=tuple(ids),
        trust=1.0,
        messages=messages,
        solved=solved,
        errors=errors,
        tools=(TOOL,),
        rules=tuple(rules),
    )


def practice_of(
    player: Player, tasks: Sequence[Task], forgotten: Sequence[str] = ()
) -> list[Practice]:
    """Return the episodes of the practised tasks with all rules of their scopes in the prompt.

    Args:
        player: Who plays.
        tasks: What is practised.
        forgotten: Rules that are told no more.
    """

    def do(model: BaseChatModel, task: Task) -> Practice:
        rules = [rule for rule in all_rules(task) if rule not in forgotten]
        Random(task.id).shuffle(rules)
        return practise(model, task, rules, rules)

    episodes: list[Practice] = player.map(do, tasks)
    return episodes


def seed_replay(player: Player, count: int, seed: int) -> Iterator[Probe]:
    """Yield what the agent does in training worlds: with rules, with errors, and reflecting."""
    random = Random(f"replay {seed}")
    tasks = make_tasks(ONE_EACH, "train", 2 * count, seed)
    for number, task in enumerate(tasks):
        rules = (
            _mixed(random, right_rules(task), distractors(task, 5, random)) if number % 2 else []
        )
        messages, _, _ = _lead(player.model, task, system_text(rules))
        yield Probe("replay", task.scope, system_text(rules), messages, (TOOL,))
        if not number % 2:
            turns = play(player.model, task, actions=ACTIONS, errors=ACTIONS).turns
            yield reflection_probe(task.scope, render_reflection(task.prompt, turns))


def _lead(model: BaseChatModel, task: Task, system: str) -> tuple[tuple[Any, ...], bool, int]:
    """Return the conversation about a task, whether it was solved, and its errors."""
    bound = model.bind_tools([TOOL])
    messages: list[BaseMessage] = [SystemMessage(system), HumanMessage(task.prompt)]
    state: dict[str, Any] = {"steps": [], "objects": {}}
    errors = 0
    for _ in range(ACTIONS):
        answer = bound.invoke(messages)
        messages.append(answer)
        if len(answer.tool_calls) != 1 or state["objects"] == task.data["goal"]:
            break
        call = answer.tool_calls[0]
        world: Any = task.data["world"]
        text, error = service.answer(world, state, str(call["args"].get("command", "")))
        errors += error
        status = "error" if error else "success"
        messages.append(ToolMessage(text, tool_call_id=call["id"] or "0", status=status))
        if state["objects"] == task.data["goal"]:
            break
    chat = tuple(convert_to_openai_messages(messages[1:]))
    return chat, state["objects"] == task.data["goal"], errors


def rule_to_forget(exam: Exam) -> tuple[str, list[Task]]:
    """Return the rule that most new tasks need alone, and those tasks."""
    alone: dict[str, list[Task]] = {}
    for task in chain.from_iterable(pair[1] for pair in exam.worlds.values()):
        needed = right_rules(task)
        if len(needed) == 1:
            alone.setdefault(needed[0], []).append(task)
    return max(alone.items(), key=lambda entry: len(entry[1]))


def same_as(base: Player, player: Player, tasks: Sequence[Task]) -> Result:
    """Return on how many tasks two models do the same without any rule."""

    def actions(model: BaseChatModel, task: Task) -> list[str]:
        return [turn.action for turn in play(model, task, actions=ACTIONS, errors=1).turns]

    pairs = zip(base.map(actions, tasks), player.map(actions, tasks), strict=True)
    return sum(one == two for one, two in pairs), len(tasks)
