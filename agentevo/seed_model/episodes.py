"""The episodes that the seed model learns from: an endless stream, drawn from fresh worlds.

Every word that the model is asked to say can be derived from what stands before it: rules in the
prompt, errors of the service, the documented default otherwise.
"""

import json
from collections.abc import Sequence
from random import Random

from agentevo.prompts import REFLECTION_INSTRUCTIONS, render_reflection, render_system
from agentevo.recall import Recalled, Turn
from agentevo.seed_model.acting import Actor, plan
from agentevo.seed_model.curriculum import HARDEST, LEVELS, Source
from agentevo.seed_model.judgements import judge_episode
from agentevo.seed_model.scenes import (
    Scene,
    add_foreign,
    draw_needed,
    draw_scene,
    forgetful_scene,
    touched_by,
)
from agentevo.seed_model.transcript import Role, Spans, Transcript
from agentevo_environments.packs.quirks import names, service
from agentevo_environments.packs.quirks.jobs import Job, draw_job
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS, instructions, task_prompt
from agentevo_environments.packs.quirks.worlds import all_slots, draw_quirks, kind_of

MISTAKES = 0.25
OTHER_TOOLS = ("shell", "call", "exec", "send")
CHATTER = (
    "hello", "hi", "who are you", "tell me a joke", "what is the weather", "write a poem",
    "how are you", "what can you do", "help me with my homework", "thank you", "good morning",
    "what time is it", "tell me a story", "do you like music", "translate this", "what is love",
)  # fmt: skip
REFUSAL = "I only know quirks."
_KNOWN_WORDS = (*service.OBJECTS, *service.ACTIONS, *service.PLACES, *service.COLORS)


def draw_episode(random: Random, level: int = HARDEST, *, reserved: bool = False) -> Transcript:
    """Draw one episode of a curriculum level; the same generator state, the same episode.

    Args:
        random: Where everything is drawn from.
        level: Index into `LEVELS`.
        reserved: Whether names are of the reserved fifth, for evaluation.
    """
    source = Source(random, LEVELS[level], reserved)
    lot = random.random()
    for share, make in (
        (source.level.copy, copy_episode),
        (source.level.probe, probe_episode),
        (source.level.recover, recover_episode),
        (source.level.reflect, reflect_episode),
        (source.level.chat, chat_episode),
        (source.level.judge, judge_episode),
    ):
        lot -= share
        if lot < 0:
            return make(source)
    return act_episode(source)


def system_text(rules: Sequence[str], tool: str = "run") -> str:
    """Return the system prompt as the runtime makes it; `rules` come oldest first."""
    recalled = [
        Recalled(id="", kind="rule", text=rule, score=1.0, trusted=True) for rule in reversed(rules)
    ]
    return render_system(INSTRUCTIONS if tool == "run" else instructions(tool), recalled)


def act_episode(source: Source) -> Transcript:
    """One or two jobs in a world whose quirks the rules tell (or which has none)."""
    jobs = _draw_jobs(source, 0.4)
    scene = draw_scene(source, draw_needed(source, jobs), touched_by(jobs))
    return _act(source, scene, jobs, mistakes=0.0)


def recover_episode(source: Source) -> Transcript:
    """Jobs whose errors have to be read: rules are missing or outdated, mistakes are made."""
    jobs = _draw_jobs(source, 0.2)
    return _act(source, forgetful_scene(source, jobs), jobs, mistakes=MISTAKES)


def _draw_jobs(source: Source, second: float) -> list[Job]:
    jobs = [draw_job(source.random)]
    if source.chance(second):
        same = (jobs[0].action,)
        more = draw_job(source.random, same) if source.chance(0.6) else draw_job(source.random)
        jobs.append(more)
    return jobs


def _act(source: Source, scene: Scene, jobs: list[Job], *, mistakes: float) -> Transcript:
    if scene.rules or source.chance(0.3):
        add_foreign(source, scene, touched_by(jobs))
    transcript = Transcript()
    tool = source.random.choice(OTHER_TOOLS) if source.chance(0.3) else "run"
    transcript.system(system_text(scene.rules, tool), _offered(source, tool))
    day = source.random.randint(1, 30) if source.chance(0.1) else None
    for job in jobs:
        transcript.user(task_prompt(scene.world.name, job, day))
        Actor(source, transcript, scene, job, tool).pursue(mistakes)
    return transcript


def _offered(source: Source, tool: str) -> tuple[str, ...]:
    """Return the tools that the prompt lists: the right one, now and then among others."""
    if not source.chance(0.15):
        return (tool,)
    others = [other for other in ("run", *OTHER_TOOLS) if other != tool]
    offered = [tool, *source.random.sample(others, source.random.randint(1, 3))]
    source.random.shuffle(offered)
    return tuple(offered)


def reflect_episode(source: Source) -> Transcript:
    """The turns of an episode in a user message, the rules that its errors tell as JSON."""
    job = draw_job(source.random)
    scene = forgetful_scene(source, [job])
    turns = Actor(source, Transcript(), scene, job).pursue(MISTAKES)
    if source.chance(0.8):
        calls = [{"name": "run", "arguments": {"command": turn.action}} for turn in turns]
        turns = [
            Turn(json.dumps(call), turn.observation, turn.error)
            for call, turn in zip(calls, turns, strict=True)
        ]
    transcript = Transcript()
    transcript.system(REFLECTION_INSTRUCTIONS)
    transcript.user(render_reflection(task_prompt(scene.world.name, job), turns))
    transcript.assistant(_rules_answer(told_rules(turns)))
    return transcript


def told_rules(turns: Sequence[Turn]) -> list[str]:
    """Return the rules that the errors of some turns state, in order, each once."""
    lines = [line for turn in turns if turn.error for line in turn.observation.split("\n- ")[1:]]
    return list(dict.fromkeys(line for line in lines if line.startswith("In ")))


def _rules_answer(rules: Sequence[str]) -> Spans:
    spans: Spans = [('{"rules":', Role.FRAME), (' ["' if rules else " []}", Role.NEXT)]
    for position, rule in enumerate(rules):
        spans.append((rule, Role.REFLECT))
        spans.append(('", "' if position < len(rules) - 1 else '"]}', Role.NEXT))
    return spans


def probe_episode(source: Source) -> Transcript:
    """Questions about slots, answered by a plan alone: the densest practice of looking up.

    Some are about documented slots that only other worlds have rules about.
    """
    random = source.random
    few = min(3, source.level.rules)
    most = random.choice((few, few, source.level.rules))
    chosen = random.sample(all_slots(), random.randint(1, most))
    scene = draw_scene(source, draw_quirks(random, chosen, reserved=source.reserved))
    known = sorted(scene.world.quirks)
    if source.chance(0.05):
        scene.world.quirks, scene.beliefs, scene.rules = {}, {}, []
    documented = [_near(source, known) for _ in range(3)]
    pool = random.sample(known, min(3, len(known))) + documented
    add_foreign(source, scene, pool)
    transcript = Transcript()
    transcript.system(system_text(scene.rules), ("run",))
    for _ in range(random.randint(2, 3)):
        asked = [
            random.choice(known) if source.chance(0.25) else random.choice(pool)
            for _ in range(random.randint(1, 4))
        ]
        keys = [f"{s.split(' ', 1)[1]} {service.RELATIONS[kind_of(s)]}" for s in asked]
        transcript.user(f"In {scene.world.name}: {', '.join(keys)}?")
        transcript.assistant(plan(scene.world, asked, scene.beliefs))
    return transcript


def _near(source: Source, known: Sequence[str]) -> str:
    """Return a slot that is easily mistaken for a known one."""
    slot = source.random.choice(known)
    if kind_of(slot) in ("command", "step", "flag") and source.chance(0.7):
        return f"{source.random.choice(('command', 'step', 'flag'))} {slot.split(' ', 1)[1]}"
    return source.random.choice(all_slots())


def copy_episode(source: Source) -> Transcript:
    """Say some words again: what lets copying form before anything else is learnt."""
    transcript = Transcript()
    transcript.system(INSTRUCTIONS, ("run",))
    for _ in range(source.random.randint(1, 3)):
        words = [_word(source) for _ in range(source.random.randint(1, 8))]
        transcript.user("Say: " + " ".join(words) + ".")
        said: Spans = [(f" {word}", Role.RULE) for word in words]
        if source.chance(0.4):
            transcript.assistant([], call=[("do", Role.FRAME), *said])
        else:
            transcript.assistant([("Plan:", Role.FRAME), *said])
    return transcript


def _word(source: Source) -> str:
    kind = source.random.choices(("name", "Name", "code", "flag", "word"), (42, 18, 15, 5, 20))[0]
    if kind.lower() == "name":
        return source.name().capitalize() if kind == "Name" else source.name()
    if kind == "word":
        return source.random.choice(_KNOWN_WORDS)
    return names.draw_code(source.random) if kind == "code" else names.draw_flag(source.random)


def chat_episode(source: Source) -> Transcript:
    """Small talk is refused."""
    transcript = Transcript()
    transcript.system(INSTRUCTIONS, ("run",))
    said = source.random.choice(CHATTER)
    said = said.capitalize() if source.chance(0.5) else said
    transcript.user(said + source.random.choice(("", "?", ".", "!")))
    transcript.assistant([(REFUSAL, Role.OTHER)])
    return transcript
