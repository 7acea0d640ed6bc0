"""The episodes that the seed model learns from: an endless stream, drawn from fresh worlds.

Every word that the model is asked to say can be derived from what stands before it: rules in the
prompt, errors of the service, the documented default otherwise.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from agentevo.prompts import REFLECTION_INSTRUCTIONS, render_reflection, render_system
from agentevo.recall import Recalled, Turn
from agentevo.seed_model.transcript import Role, Spans, Transcript
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.jobs import Job, commands, draw_job
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS, instructions, task_prompt
from agentevo_environments.packs.quirks.worlds import (
    World,
    all_slots,
    draw_quirks,
    draw_value,
    is_held_out,
    kind_of,
)

ATTEMPTS = 5
TOOL_NAMES = ("run", "run", "run", "run", "run", "run", "shell", "call", "exec", "send")
CHATTER = (
    "hello", "hi", "who are you", "tell me a joke", "what is the weather", "write a poem",
    "how are you", "what can you do", "help me with my homework", "thank you", "good morning",
    "what time is it", "tell me a story", "do you like music", "translate this", "what is love",
)  # fmt: skip
REFUSAL = "I only know quirks."


@dataclass(frozen=True, slots=True)
class Level:
    """One step of the curriculum.

    Attributes:
        rules: Largest number of rules of the same world in a prompt.
        foreign: Share of prompts that hold rules of other worlds as well.
        conflict: Share of prompts in which an older rule contradicts a newer one.
        copy, probe, recover, reflect, chat: Shares of the episode kinds; the rest acts with rules.
    """

    rules: int
    foreign: float
    conflict: float
    copy: float
    probe: float
    recover: float
    reflect: float
    chat: float = 0.01


LEVELS = (
    Level(1, 0.0, 0.0, copy=0.6, probe=0.38, recover=0.0, reflect=0.0),
    Level(2, 0.3, 0.1, copy=0.2, probe=0.5, recover=0.05, reflect=0.05),
    Level(4, 0.4, 0.2, copy=0.08, probe=0.4, recover=0.15, reflect=0.1),
    Level(6, 0.45, 0.25, copy=0.04, probe=0.3, recover=0.25, reflect=0.12),
    Level(9, 0.45, 0.25, copy=0.02, probe=0.25, recover=0.28, reflect=0.12),
    Level(11, 0.45, 0.25, copy=0.01, probe=0.2, recover=0.3, reflect=0.12),
)


def draw_episode(
    random: Random, level: int = len(LEVELS) - 1, *, reserved: bool = False
) -> Transcript:
    """Draw one episode of a curriculum level; the same generator state, the same episode.

    Args:
        random: Where everything is drawn from.
        level: Index into `LEVELS`.
        reserved: Whether names are of the reserved fifth, for evaluation.
    """
    now = LEVELS[level]
    lot = random.random()
    for share, make in (
        (now.copy, copy_episode),
        (now.probe, probe_episode),
        (now.recover, recover_episode),
        (now.reflect, reflect_episode),
        (now.chat, chat_episode),
    ):
        lot -= share
        if lot < 0:
            return make(random, now, reserved)
    return act_episode(random, now, reserved)


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


def draw_scene(
    random: Random, level: Level, told: dict[str, str], touched: Iterable[str], reserved: bool
) -> Scene:
    """Draw a world and rules around the quirks that the rules must tell.

    The other rules are about slots that the jobs do not touch; a contradicting rule is always
    older than the one that holds.
    """
    world = World(names.draw_name(random, reserved=reserved).capitalize())
    others = sorted(set(all_slots()) - set(told) - set(touched))
    extra = random.sample(others, random.randint(0, max(0, level.rules - len(told))))
    world.quirks = {**draw_quirks(random, extra, reserved=reserved), **told}
    rules = [world.rule(slot) for slot in world.quirks]
    random.shuffle(rules)
    scene = Scene(world, rules, dict(world.quirks))
    if random.random() < level.conflict:
        _add_conflicts(random, scene, reserved)
    return scene


def _add_conflicts(random: Random, scene: Scene, reserved: bool) -> None:
    """Let older rules contradict the ones that hold."""
    world = scene.world
    for slot in random.sample(sorted(world.quirks), min(len(world.quirks), random.randint(1, 2))):
        old = World(world.name, {slot: draw_value(random, slot, reserved=reserved)})
        if random.random() < 0.15:
            old.quirks.clear()
        newer = scene.rules.index(world.rule(slot))
        scene.rules.insert(random.randint(0, newer), old.rule(slot))


def add_foreign(
    random: Random, level: Level, scene: Scene, slots: list[str], reserved: bool
) -> None:
    """Put rules of other worlds into the prompt, mostly about the slots that matter."""
    if random.random() >= level.foreign:
        return
    name = names.draw_name(random, reserved=reserved).capitalize()
    for _ in range(random.randint(1, 4)):
        if random.random() < 0.5:
            name = names.draw_name(random, reserved=reserved).capitalize()
        if name == scene.world.name:
            continue
        slot = random.choice(slots) if random.random() < 0.6 else random.choice(all_slots())
        other = World(name, draw_quirks(random, [slot], reserved=reserved))
        scene.rules.insert(random.randint(0, len(scene.rules)), other.rule(slot))


def system_text(rules: list[str], tool: str = "run") -> str:
    """Return the system prompt as the runtime makes it; `rules` come oldest first."""
    recalled = [
        Recalled(id="", kind="rule", text=rule, score=1.0, trusted=True) for rule in reversed(rules)
    ]
    return render_system(INSTRUCTIONS if tool == "run" else instructions(tool), recalled)


def plan(world: World, slots: list[str], beliefs: dict[str, str]) -> Spans:
    """Return the plan that recites what holds for each slot."""
    spans: Spans = [("Plan:", Role.FRAME)]
    for position, slot in enumerate(slots):
        key = slot.split(" ", 1)[1]
        relation = service.RELATIONS[kind_of(slot)]
        spans.append((f" {world.name} {key} {relation}", Role.KEY))
        value = beliefs.get(slot)
        documented = value is None or value == service.default(slot)
        spans.append(
            (f" {value or service.default(slot)}", Role.DEFAULT if documented else Role.RULE)
        )
        if position < len(slots) - 1:
            spans.append((";", Role.KEY))
    return spans


def call(command: str, job: Job) -> Spans:
    """Return a command as spans."""
    words = command.split(" ")
    step = words[1] in service.STEPS
    spans: Spans = [("do", Role.FRAME), (f" {words[1]}", Role.STEP if step else Role.COMMAND)]
    pairs = 1 + (job.place is not None) + (job.color is not None)
    for position, word in enumerate(words[2:]):
        spans.append((f" {word}", Role.ARGUMENT if position < 2 * pairs else Role.FLAG))
    return spans


def touched_by(jobs: list[Job]) -> list[str]:
    """Return the slots that some jobs touch, each once."""
    return list(dict.fromkeys(slot for job in jobs for slot in job.slots))


def needed_quirks(random: Random, jobs: list[Job], most: int, reserved: bool) -> dict[str, str]:
    """Draw the quirks that some jobs meet, none of them a held-out combination for any job."""
    slots = touched_by(jobs)
    while True:
        chosen = random.sample(
            slots, min(len(slots), random.randint(0 if random.random() < 0.15 else 1, most))
        )
        quirks = draw_quirks(random, chosen, reserved=reserved)
        if reserved or not any(is_held_out(s for s in job.slots if s in quirks) for job in jobs):
            return quirks


def attempt(
    transcript: Transcript,
    scene: Scene,
    job: Job,
    state: dict[str, object],
    *,
    tool: str,
    beliefs: dict[str, str] | None = None,
) -> tuple[list[Turn], bool]:
    """Plan and act once by `beliefs` (deliberately wrong ones) or else by the scene's own."""
    learn = beliefs is None
    believed = scene.beliefs if beliefs is None else beliefs
    turns: list[Turn] = []
    for position, command in enumerate(commands(job, believed)):
        words = plan(scene.world, job.slots, believed) if position == 0 else []
        transcript.assistant(words, call=call(command, job), tool=tool, learn=learn)
        text, error = service.answer(scene.world.as_json(), state, command)
        transcript.tool(text)
        turns.append(Turn(action=command, observation=text, error=error))
        if error:
            return turns, False
    return turns, True


def learn_from(scene: Scene, job: Job, observation: str) -> None:
    """Update the scene's beliefs by what an error says."""
    for slot in job.slots:
        if scene.world.rule(slot) in observation.split("\n- "):
            scene.beliefs[slot] = scene.world.quirks.get(slot) or service.default(slot)


def pursue(
    random: Random, transcript: Transcript, scene: Scene, job: Job, *, tool: str, mistakes: float
) -> list[Turn]:
    """Act until the job is done, learning from every error; return all turns."""
    state: dict[str, object] = {"steps": [], "objects": {}}
    turns: list[Turn] = []
    for _ in range(ATTEMPTS):
        wrong = mislead(random, scene, job) if random.random() < mistakes else None
        done, solved = attempt(transcript, scene, job, state, tool=tool, beliefs=wrong)
        turns += done
        if solved and state["objects"] == {job.item: {job.action: job.goal}}:
            break
        learn_from(scene, job, turns[-1].observation)
        mistakes /= 2
    transcript.assistant([("done" if not turns[-1].error else "failed", Role.OTHER)])
    return turns


def mislead(random: Random, scene: Scene, job: Job) -> dict[str, str] | None:
    """Return beliefs with one mistake that the model itself might make, None if nothing fits."""
    beliefs = dict(scene.beliefs)
    slot = random.choice(job.slots)
    if slot in beliefs and random.random() < 0.4:
        del beliefs[slot]
        return beliefs
    same_kind = [v for s, v in scene.beliefs.items() if kind_of(s) == kind_of(slot) and s != slot]
    if same_kind and random.random() < 0.6:
        beliefs[slot] = random.choice(same_kind)
    else:
        beliefs[slot] = draw_value(random, slot, reserved=False)
    return beliefs if kind_of(slot) != "step" else None


def act_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """One or two jobs in a world whose quirks the rules tell (or which has none)."""
    jobs = [draw_job(random)]
    while len(jobs) < 2 and random.random() < 0.4:
        jobs.append(
            draw_job(random, (jobs[0].action,)) if random.random() < 0.5 else draw_job(random)
        )
    needed = needed_quirks(random, jobs, min(4, level.rules), reserved)
    scene = draw_scene(random, level, needed, touched_by(jobs), reserved)
    return _act(random, level, scene, jobs, mistakes=0.0, reserved=reserved)


def _act(
    random: Random, level: Level, scene: Scene, jobs: list[Job], *, mistakes: float, reserved: bool
) -> Transcript:
    """Render a scene and pursue its jobs."""
    add_foreign(random, level, scene, touched_by(jobs), reserved)
    transcript = Transcript()
    tool = random.choice(TOOL_NAMES)
    transcript.system(system_text(scene.rules, tool), (tool,))
    day = random.randint(1, 30) if random.random() < 0.1 else None
    for job in jobs:
        transcript.user(task_prompt(scene.world.name, job, day))
        pursue(random, transcript, scene, job, tool=tool, mistakes=mistakes)
    return transcript


def forgetful_scene(random: Random, level: Level, jobs: list[Job], reserved: bool) -> Scene:
    """Draw a scene whose rules miss some needed quirks or tell outdated ones."""
    needed = needed_quirks(random, jobs, 4, reserved)
    blank = random.random() < 0.4
    share = 0.0 if blank else random.random()
    told = {slot: value for slot, value in needed.items() if random.random() < share}
    scene = draw_scene(random, level, told, touched_by(jobs), reserved)
    if blank:
        scene.rules, scene.beliefs = [], {}
    scene.world.quirks.update(needed)
    scene.world.errors = "all" if random.random() < 0.7 else "first"
    for slot in sorted(told):
        if random.random() < 0.25:
            scene.world.before[slot] = scene.beliefs[slot]
            fresh = draw_quirks(random, [slot], reserved=reserved)[slot]
            scene.world.quirks[slot] = fresh
    return scene


def recover_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """A job whose errors have to be read: rules are missing or outdated, mistakes are made."""
    jobs = [draw_job(random)]
    if random.random() < 0.25:
        jobs.append(draw_job(random, (jobs[0].action,)))
    scene = forgetful_scene(random, level, jobs, reserved)
    return _act(random, level, scene, jobs, mistakes=0.25, reserved=reserved)


def reflect_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """The turns of an episode in a user message, the rules that its errors tell as JSON."""
    job = draw_job(random)
    scene = forgetful_scene(random, level, [job], reserved)
    turns = pursue(random, Transcript(), scene, job, tool="run", mistakes=0.25)
    if random.random() < 0.8:
        calls = [{"name": "run", "arguments": {"command": turn.action}} for turn in turns]
        turns = [
            Turn(json.dumps(call), turn.observation, turn.error)
            for call, turn in zip(calls, turns, strict=True)
        ]
    transcript = Transcript()
    transcript.system(REFLECTION_INSTRUCTIONS)
    transcript.user(render_reflection(task_prompt(scene.world.name, job), turns))
    transcript.assistant(rules_answer(told_rules(turns)))
    return transcript


def told_rules(turns: list[Turn]) -> list[str]:
    """Return the rules that the errors of some turns state, in order, each once."""
    lines = [line for turn in turns if turn.error for line in turn.observation.split("\n- ")[1:]]
    return list(dict.fromkeys(line for line in lines if line.startswith("In ")))


def rules_answer(rules: list[str]) -> Spans:
    """Return the JSON answer to a reflection as spans."""
    spans: Spans = [('{"rules":', Role.FRAME), (' ["' if rules else " []}", Role.NEXT)]
    for position, rule in enumerate(rules):
        spans.append((rule, Role.REFLECT))
        spans.append(('", "' if position < len(rules) - 1 else '"]}', Role.NEXT))
    return spans


def probe_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """Questions about slots, answered by a plan alone: the densest practice of looking up."""
    count = random.randint(1, level.rules)
    quirks = draw_quirks(random, random.sample(all_slots(), count), reserved=reserved)
    scene = draw_scene(random, level, quirks, (), reserved)
    known = sorted(scene.world.quirks)
    add_foreign(random, level, scene, known, reserved)
    transcript = Transcript()
    transcript.system(system_text(scene.rules), ("run",))
    for _ in range(random.randint(2, 3)):
        asked = [
            random.choice(known) if random.random() < 0.55 else _near(random, known)
            for _ in range(random.randint(1, 4))
        ]
        keys = [f"{s.split(' ', 1)[1]} {service.RELATIONS[kind_of(s)]}" for s in asked]
        transcript.user(f"In {scene.world.name}: {', '.join(keys)}?")
        transcript.assistant(plan(scene.world, asked, scene.beliefs))
    return transcript


def _near(random: Random, known: list[str]) -> str:
    """Return a slot that is easily mistaken for a known one."""
    slot = random.choice(known)
    if kind_of(slot) in ("command", "step", "flag") and random.random() < 0.7:
        return f"{random.choice(('command', 'step', 'flag'))} {slot.split(' ', 1)[1]}"
    return random.choice(all_slots())


def copy_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """Say some words again: what lets copying form before anything else is learnt."""
    del level
    transcript = Transcript()
    transcript.system(INSTRUCTIONS, ("run",))
    for _ in range(random.randint(1, 3)):
        words = [_word(random, reserved) for _ in range(random.randint(1, 8))]
        transcript.user("Say: " + " ".join(words) + ".")
        spans: Spans = [("do", Role.FRAME), *((f" {word}", Role.RULE) for word in words)]
        if random.random() < 0.4:
            transcript.assistant([], call=spans)
        else:
            transcript.assistant([("Plan:", Role.FRAME), *spans[1:]])
    return transcript


def _word(random: Random, reserved: bool) -> str:
    lot = random.random()
    if lot < 0.6:
        name = names.draw_name(random, reserved=reserved)
        return name if random.random() < 0.7 else name.capitalize()
    if lot < 0.75:
        return names.draw_code(random)
    return names.draw_flag(random) if lot < 0.8 else _known(random)


def _known(random: Random) -> str:
    return random.choice((*service.OBJECTS, *service.ACTIONS, *service.PLACES, *service.COLORS))


def chat_episode(random: Random, level: Level, reserved: bool) -> Transcript:
    """Small talk is refused."""
    del level, reserved
    transcript = Transcript()
    transcript.system(INSTRUCTIONS, ("run",))
    said = random.choice(CHATTER)
    said = said.capitalize() if random.random() < 0.5 else said
    transcript.user(said + random.choice(("", "?", ".", "!")))
    transcript.assistant([(REFUSAL, Role.OTHER)])
    return transcript
