"""A scene: a world, the rules that a prompt tells about it, and what a reader then believes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from agentevo.seed_model.curriculum import Source
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.jobs import Job
from agentevo_environments.packs.quirks.worlds import (
    World,
    all_slots,
    draw_quirks,
    draw_value,
    is_held_out,
    kind_of,
)

MOST_PER_JOB = 4
NONE_NEEDED = 0.12
"""Share of jobs that meet no quirk."""
LATER = 0.4
"""Share of other worlds' rules that stand after the world's own rule on the same subject."""
ALIKE = 0.5
"""Share of other worlds in a prompt whose names share a syllable with the world's own."""


@dataclass(slots=True)
class Scene:
    """A world and what a prompt tells about it.

    Attributes:
        world: The true world.
        rules: The rules in the prompt, oldest first, those of other worlds among them.
        beliefs: What a reader of the rules believes about `world`.
    """

    world: World
    rules: list[str]
    beliefs: dict[str, str]

    def learn(self, job: Job, observation: str) -> None:
        """Update the beliefs by what an error says."""
        told = observation.split("\n- ")
        for slot in job.slots:
            if self.world.rule(slot) in told:
                self.beliefs[slot] = self.world.quirks.get(slot) or service.default(slot)


def touched_by(jobs: Sequence[Job]) -> list[str]:
    """Return the slots that some jobs touch, each once."""
    return list(dict.fromkeys(slot for job in jobs for slot in job.slots))


def draw_needed(source: Source, jobs: Sequence[Job]) -> dict[str, str]:
    """Draw the quirks that jobs meet; for training never a held-out combination for one job."""
    slots = touched_by(jobs)
    most = min(len(slots), MOST_PER_JOB)
    if source.chance(NONE_NEEDED):
        return {}
    while True:
        chosen = source.random.sample(slots, source.random.randint(1, most))
        quirks = draw_quirks(source.random, chosen, reserved=source.reserved)
        if source.reserved or not any(
            is_held_out(slot for slot in job.slots if slot in quirks) for job in jobs
        ):
            return quirks


def draw_scene(source: Source, told: dict[str, str], touched: Iterable[str] = ()) -> Scene:
    """Draw a world and rules around the quirks that the rules must tell.

    The other rules are about slots that no job touches; a contradicting rule is always older
    than the one that holds.
    """
    random = source.random
    world = World(source.name().capitalize())
    others = sorted(set(all_slots()) - set(told) - set(touched))
    room = max(0, source.level.rules - len(told))
    most = random.choice((0, 0, min(2, room), room))
    extra = random.sample(others, random.randint(0, most))
    world.quirks = {**draw_quirks(random, extra, reserved=source.reserved), **told}
    rules = [world.rule(slot) for slot in world.quirks]
    random.shuffle(rules)
    scene = Scene(world, rules, dict(world.quirks))
    if source.chance(source.level.conflict):
        add_conflicts(source, scene)
    return scene


def add_conflicts(source: Source, scene: Scene) -> None:
    """Let older rules contradict some that hold; some of them say what the documentation says."""
    random, world = source.random, scene.world
    count = min(len(world.quirks), random.randint(1, 3))
    for slot in random.sample(sorted(world.quirks), count):
        value = draw_value(random, slot, reserved=source.reserved)
        old = World(world.name, {} if source.chance(0.15) else {slot: value})
        newer = scene.rules.index(world.rule(slot))
        scene.rules.insert(random.randint(0, newer), old.rule(slot))


def add_foreign(source: Source, scene: Scene, slots: Sequence[str]) -> None:
    """Put rules of other worlds into the prompt, mostly about the slots that matter."""
    random = source.random
    if not source.chance(source.level.foreign):
        return
    name = _other_name(source, scene.world.name)
    for _ in range(random.randint(1, 6)):
        if source.chance(0.6):
            name = _other_name(source, scene.world.name)
        slot = random.choice(slots if source.chance(0.9) else all_slots())
        other = World(name, draw_quirks(random, [slot], reserved=source.reserved))
        own = scene.world.rule(slot)
        later = own in scene.rules and source.chance(LATER)
        first = scene.rules.index(own) + 1 if later else 0
        scene.rules.insert(random.randint(first, len(scene.rules)), other.rule(slot))


def _other_name(source: Source, name: str) -> str:
    """Draw the name of another world, often one that shares a syllable with `name`."""
    other = name
    while other == name:
        if source.chance(ALIKE):
            other = source.random.choice(_alike(name, source.reserved))
        else:
            other = source.name().capitalize()
    return other


@cache
def _alike(name: str, reserved: bool) -> list[str]:
    """Return the other names that share a syllable with `name`, capitalised."""
    first, second = names.syllables(name)
    pairs = [(first, s) for s in names.SYLLABLES] + [(s, second) for s in names.SYLLABLES]
    drawable = [
        a + b
        for a, b in pairs
        if names.is_reserved(a, b) == reserved and not any(a + b in word for word in names.WORDS)
    ]
    return [other.capitalize() for other in drawable if other != name.lower()]


def forgetful_scene(source: Source, jobs: Sequence[Job]) -> Scene:
    """Draw a scene whose rules miss some needed quirks or tell outdated ones."""
    needed = draw_needed(source, jobs)
    blank, share = source.chance(0.4), source.random.random()
    told = {} if blank else {s: value for s, value in needed.items() if source.chance(share)}
    scene = draw_scene(source, told, touched_by(jobs))
    if blank:
        scene.rules, scene.beliefs = [], {}
    scene.world.quirks.update(needed)
    scene.world.errors = "all" if source.chance(0.7) else "first"
    for slot in sorted(told):
        if source.chance(0.25):
            scene.world.before[slot] = scene.beliefs[slot]
            fresh = draw_quirks(source.random, [slot], reserved=source.reserved)
            scene.world.quirks |= fresh
    return scene


def mislead(source: Source, scene: Scene, job: Job) -> dict[str, str] | None:
    """Return beliefs with a mistake that the model itself might make, None if none fits."""
    beliefs, slot = dict(scene.beliefs), source.random.choice(job.slots)
    if kind_of(slot) == "step":
        return None
    if slot in beliefs and source.chance(0.4):
        del beliefs[slot]
        return beliefs
    similar = [v for s, v in scene.beliefs.items() if kind_of(s) == kind_of(slot) and s != slot]
    if similar and source.chance(0.6):
        beliefs[slot] = source.random.choice(similar)
    else:
        beliefs[slot] = draw_value(source.random, slot, reserved=source.reserved)
    return beliefs
