"""Worlds and tasks: made from seeds, split honestly, refused when impossible."""

from itertools import pairwise
from typing import Any

import pytest

from agentevo_environments.errors import UnknownNameError
from agentevo_environments.packs.quirks import names
from agentevo_environments.packs.quirks.difficulty import (
    RESERVED_NAME_SPLITS,
    SEEDS,
    Difficulty,
)
from agentevo_environments.packs.quirks.jobs import Job
from agentevo_environments.packs.quirks.tasks import (
    NoTaskError,
    job_of,
    make_tasks,
    make_world,
    world_tasks,
)
from agentevo_environments.packs.quirks.worlds import World, is_held_out
from agentevo_environments.task import Task

TIERS = [Difficulty(), Difficulty(tier="hard"), Difficulty(tier="drift", tasks_per_world=6)]


def world_of(task: Task) -> World:
    fields: Any = task.data["world"]
    return World(**fields)


def met(task: Task) -> list[str]:
    job, world = job_of(task), world_of(task)
    return [slot for slot in (*job.slots, *job.hard_slots) if slot in world.quirks]


def invented(task: Task) -> list[str]:
    world = world_of(task)
    quirks = world.quirks | world.before
    return [world.name, *(v for s, v in quirks.items() if s.split(" ")[0] in ("command", "key"))]


@pytest.mark.parametrize("split", SEEDS)
@pytest.mark.parametrize("difficulty", TIERS, ids=lambda d: d.tier)
def test_the_same_seed_gives_the_same_tasks_and_another_seed_others(
    difficulty: Difficulty, split: str
) -> None:
    tasks = make_tasks(difficulty, split, 30, 0)
    assert tasks == make_tasks(difficulty, split, 30, 0)
    assert tasks[:7] == make_tasks(difficulty, split, 7, 0)
    assert not {t.id for t in tasks} & {t.id for t in make_tasks(difficulty, split, 30, 1)}


def test_every_task_meets_as_many_quirks_as_asked_for() -> None:
    difficulty = Difficulty(fewest_per_task=2, most_per_task=4, quirks_per_world=25)
    counts = [len(met(task)) for task in make_tasks(difficulty, "test", 300, 0)]
    assert set(counts) == {2, 3, 4}


def test_seed_ranges_do_not_overlap() -> None:
    ranges = sorted(SEEDS.values(), key=lambda seeds: seeds.start)
    assert all(one.stop <= other.start for one, other in pairwise(ranges))


@pytest.mark.parametrize("split", SEEDS)
def test_names_are_reserved_exactly_in_the_splits_that_training_never_sees(split: str) -> None:
    tasks = make_tasks(Difficulty(tier="drift", tasks_per_world=4), split, 200, 3)
    reserved = {
        names.is_reserved(*names.syllables(name)) for task in tasks for name in invented(task)
    }
    assert reserved == {split in RESERVED_NAME_SPLITS}


def test_a_fifth_of_all_syllable_pairs_is_reserved() -> None:
    pairs = [(a, b) for a in names.SYLLABLES for b in names.SYLLABLES]
    assert sum(names.is_reserved(*pair) for pair in pairs) / len(pairs) == pytest.approx(
        0.2, abs=0.01
    )


def test_training_tasks_never_meet_a_held_out_kind_or_combination() -> None:
    difficulty = Difficulty(quirks_per_world=40, most_per_task=6, combinations="any")
    assert not any(is_held_out(met(t)) for t in make_tasks(difficulty, "train", 400, 0))
    assert any(is_held_out(met(t)) for t in make_tasks(difficulty, "test", 400, 0))


def test_held_out_combinations_are_met_only_when_asked_for() -> None:
    difficulty = Difficulty(quirks_per_world=40, most_per_task=6)
    assert not any(is_held_out(met(t)) for t in make_tasks(difficulty, "test", 400, 0))


def test_no_task_of_a_world_comes_twice_while_there_are_others() -> None:
    tasks = make_tasks(Difficulty(tasks_per_world=100), "demo", 300, 0)
    assert len({task.prompt for task in tasks}) == 300


def test_a_world_with_few_tasks_repeats_them() -> None:
    few = Difficulty(quirks_per_world=1, most_per_task=1, tasks_per_world=180)
    only_lift_is_quirky = SEEDS["test"].start + 5
    prompts = [task.prompt for task in world_tasks(few, "test", only_lift_is_quirky)]
    assert (len(prompts), len(set(prompts))) == (180, 144)


def test_drift_changes_a_world_halfway_and_says_the_day() -> None:
    tasks = make_tasks(Difficulty(tier="drift", tasks_per_world=6), "test", 6, 0)
    worlds = [world_of(task) for task in tasks]
    assert worlds[0] == worlds[2] != worlds[3] == worlds[5]
    assert worlds[0].name == worlds[5].name
    assert worlds[3].before.items() <= worlds[0].quirks.items()
    assert [task.prompt.split(". ")[0] for task in tasks] == [f"Day {n}" for n in range(1, 7)]


def test_the_hard_tier_brings_offsets_and_conditions() -> None:
    kinds = {slot.split(" ")[0] for t in make_tasks(TIERS[1], "test", 60, 0) for slot in met(t)}
    assert {"offset", "condition"} <= kinds


def test_a_task_has_its_world_as_scope_and_hides_quirks_and_goal() -> None:
    task = make_tasks(Difficulty(), "test", 1, 0)[0]
    assert task.scope in task.prompt
    assert not any(value in task.prompt for value in world_of(task).quirks.values())


def test_an_unknown_split_names_those_that_exist() -> None:
    with pytest.raises(UnknownNameError, match="train, validation, test, demo"):
        make_tasks(Difficulty(), "dev", 1, 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fewest_per_task": 4, "most_per_task": 3}, "from 4 to 3"),
        ({"most_per_task": 9}, "most_per_task <= 6"),
        ({"quirks_per_world": 1000}, "quirks_per_world is 1000"),
        ({"quirks_per_world": 2, "most_per_task": 3}, "quirks_per_world is 2"),
        ({"step_limit": 1}, "choose 3 or more"),
        ({"tasks_per_world": 0}, "tasks_per_world is 0"),
        ({"attempts": -1}, "attempts is -1"),
        ({"feedback": "loud"}, "explicit, expected, pass_fail"),
        ({"tier": "soft"}, "basic, hard, drift"),
    ],
)
def test_an_impossible_difficulty_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Difficulty(**options)


def test_a_world_without_a_suitable_task_is_refused() -> None:
    with pytest.raises(NoTaskError, match="raise quirks_per_world"):
        make_tasks(
            Difficulty(quirks_per_world=6, fewest_per_task=6, most_per_task=6), "test", 50, 0
        )


def test_a_seed_of_another_split_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of the split 'test'"):
        make_world(Difficulty(), "test", SEEDS["train"].start)


@pytest.mark.parametrize(
    ("job", "text"),
    [
        (Job("move", "box", place="shelf", color="red"), "move the red box to the shelf"),
        (Job("paint", "box", color="red"), "paint the box red"),
        (Job("lock", "door"), "lock the door"),
        (Job("dial", "lamp", number=4), "dial the lamp to 4"),
    ],
)
def test_jobs_are_told_in_plain_words(job: Job, text: str) -> None:
    assert job.text == text
