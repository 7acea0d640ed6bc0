"""Tasks of quirky worlds, made from seeds: the same split, number and seed give the same tasks."""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from itertools import islice
from random import Random
from typing import Any

from agentevo_environments.errors import ActionError, UnknownNameError
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.difficulty import RESERVED_NAME_SPLITS, SEEDS, Difficulty
from agentevo_environments.packs.quirks.jobs import PLAIN_ACTIONS, Job, draw_job
from agentevo_environments.packs.quirks.prompts import task_prompt
from agentevo_environments.packs.quirks.worlds import (
    HARD_KINDS,
    World,
    all_slots,
    draw_quirks,
    is_held_out,
    is_held_out_combination,
)
from agentevo_environments.task import Task, TaskId

DEFAULT_TASKS = 200
DRAWS = 2000
HARD_SHARE = 0.7
_STRIDE = 10_007


class NoTaskError(ActionError):
    """A world in which no task of the wanted difficulty was found."""


def make_tasks(difficulty: Difficulty, split: str, n: int | None, seed: int) -> list[Task]:
    """Return the first `n` tasks (200 when None) of a split.

    Raises:
        UnknownNameError: There is no such split.
        NoTaskError: Some world has no task that meets the wanted number of quirks.
    """
    if split not in SEEDS:
        raise UnknownNameError(f"quirks has no split {split!r}; it has: {', '.join(SEEDS)}")
    return list(islice(_stream(difficulty, split, seed), DEFAULT_TASKS if n is None else n))


def _stream(difficulty: Difficulty, split: str, seed: int) -> Iterator[Task]:
    seeds, index = SEEDS[split], 0
    while True:
        world_seed = seeds[(seed * _STRIDE + index) % len(seeds)]
        yield from world_tasks(difficulty, split, world_seed)
        index += 1


def make_world(difficulty: Difficulty, split: str, world_seed: int) -> World:
    """Return the world of a seed.

    Raises:
        ValueError: The seed is outside the split's range.
    """
    if world_seed not in SEEDS[split]:
        raise ValueError(f"seed {world_seed} is not one of the split {split!r} ({SEEDS[split]})")
    random, reserved = Random(f"world {world_seed}"), split in RESERVED_NAME_SPLITS
    name = names.draw_name(random, reserved=reserved).capitalize()
    slots = random.sample(all_slots(), difficulty.quirks_per_world)
    if difficulty.hard_kinds:
        slots += ["offset dial", *_conditions(random)]
    quirks = draw_quirks(random, slots, reserved=reserved)
    return World(name, quirks, feedback=difficulty.feedback, errors=difficulty.errors)


def _conditions(random: Random) -> list[str]:
    return [
        f"condition {random.choice(PLAIN_ACTIONS)} {item}"
        for item in random.sample(service.OBJECTS, 4)
    ]


def drifted(world: World, world_seed: int, *, reserved: bool) -> World:
    """Return the world after its drift: half of the quirks differ, one is gone."""
    random = Random(f"drift {world_seed}")
    changed = sorted(random.sample(sorted(world.quirks), max(1, len(world.quirks) // 2)))
    before = {slot: world.quirks[slot] for slot in changed}
    gone = [slot for slot in changed if not slot.startswith("step ")][:1]
    fresh = draw_quirks(random, [s for s in changed if s not in gone], reserved=reserved)
    quirks = {s: v for s, v in {**world.quirks, **fresh}.items() if s not in gone}
    return World(world.name, quirks, before, world.feedback, world.errors)


def world_tasks(difficulty: Difficulty, split: str, world_seed: int) -> Iterator[Task]:
    """Yield the tasks of one world, no job twice as long as the world has others.

    Raises:
        NoTaskError: No job of the wanted number of quirks was found.
    """
    world = make_world(difficulty, split, world_seed)
    random = Random(f"tasks {world_seed}")
    done: set[Job] = set()
    for number in range(difficulty.tasks_per_world):
        day = number + 1 if difficulty.tier == "drift" else None
        if difficulty.tier == "drift" and number == (difficulty.tasks_per_world + 1) // 2:
            world = drifted(world, world_seed, reserved=split in RESERVED_NAME_SPLITS)
            done = set()
        job = _find_job(random, difficulty, world, split, done)
        done.add(job)
        yield Task(
            id=TaskId(f"{split}/{difficulty.tier}/{world_seed}/{number}"),
            prompt=task_prompt(world.name, job, day),
            scope=world.name,
            split=split,
            data={
                "world": world.as_json(),
                "job": asdict(job),
                "goal": {job.item: {job.action: job.goal}},
            },
        )


def met(job: Job, world: World) -> list[str]:
    """Return the slots of the world's quirks that a job meets."""
    return [slot for slot in (*job.slots, *job.hard_slots) if slot in world.quirks]


def _find_job(
    random: Random, difficulty: Difficulty, world: World, split: str, done: Collection[Job]
) -> Job:
    again: Job | None = None
    for _ in range(DRAWS):
        job = _draw(random, difficulty, world)
        slots = met(job, world)
        if split == "train" and is_held_out(slots):
            continue
        if difficulty.combinations == "trained" and is_held_out_combination(slots):
            continue
        if difficulty.fewest_per_task <= len(slots) <= difficulty.most_per_task:
            if job not in done:
                return job
            again = again or job
    if again is not None:
        return again
    raise NoTaskError(
        f"the world {world.name!r} with {difficulty.quirks_per_world} quirks has no task that meets "
        f"{difficulty.fewest_per_task} to {difficulty.most_per_task} of them: widen that range or "
        "raise quirks_per_world"
    )


def _draw(random: Random, difficulty: Difficulty, world: World) -> Job:
    hard = [slot.split(" ") for slot in world.quirks if slot.split(" ")[0] in HARD_KINDS]
    if not hard or difficulty.tier != "hard" or random.random() > HARD_SHARE:
        return draw_job(random)
    kind, action, *item = random.choice(hard)
    job = draw_job(random, (action,))
    return job if kind == "offset" else Job(**{**asdict(job), "item": item[0]})


def job_of(task: Task) -> Job:
    """Return the job that a task was made of."""
    fields: Any = task.data["job"]
    return Job(**fields)
