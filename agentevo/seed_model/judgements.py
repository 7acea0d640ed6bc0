"""Marks and critiques of attempts, asked as the runtime asks: what an attempt acts on decides.

An attempt shows commands without the service's answers. Whether they follow hidden rules cannot
be seen in it; whether they are about the object of the task can.
"""

import json
from dataclasses import dataclass

from agentevo.prompts import render_critique, render_judgement
from agentevo.seed_model.curriculum import Source
from agentevo.seed_model.scenes import draw_needed
from agentevo.seed_model.transcript import Role, Spans, Transcript
from agentevo.stages import NO_CHANGES
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.jobs import Job, commands, draw_job, with_item
from agentevo_environments.packs.quirks.prompts import task_prompt

PRINCIPLES = ("", "", "Act on the object of the task.", "Be exact.", "Be careful.")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A question about an attempt, without a system prompt, and the right answer."""

    question: str
    answer: Spans


def draw_judgement(source: Source, prompt: str, job: Job) -> Judgement:
    """Draw an attempt at a job and ask for a mark or a critique of it.

    Args:
        source: Where the attempt is drawn from.
        prompt: The task's prompt.
        job: The job of the task.
    """
    done = _attempted(source, job)
    attempt = _attempt(source, done)
    said: Spans = [("The task is about the", Role.OTHER), (f" {job.item}", Role.NEXT)]
    said.append((", the attempt", Role.OTHER))
    said.append((f" about the {done.item}." if done else " is empty.", Role.NEXT))
    if source.chance(0.5):
        verdict = "10" if done == job else "0"
        said += [("\nScore:", Role.OTHER), (f" {verdict}", Role.NEXT)]
        return Judgement(render_judgement(prompt, attempt), said)
    principle = source.random.choice(PRINCIPLES)
    question = render_critique(prompt, attempt, approval=NO_CHANGES, principle=principle)
    verdict = NO_CHANGES if done == job else f"Act on the {job.item}."
    return Judgement(question, [*said, (f" {verdict}", Role.NEXT)])


def judge_episode(source: Source) -> Transcript:
    """A mark or a critique of an attempt."""
    job = draw_job(source.random)
    asked = draw_judgement(source, task_prompt(source.name().capitalize(), job), job)
    transcript = Transcript()
    transcript.user(asked.question)
    transcript.assistant(asked.answer)
    return transcript


def _attempted(source: Source, job: Job) -> Job | None:
    """Return the job that an attempt did: the right one, one on another object, or none."""
    if source.chance(0.1):
        return None
    if source.chance(0.5):
        return job
    return with_item(job, source.random.choice([o for o in service.OBJECTS if o != job.item]))


def _attempt(source: Source, job: Job | None) -> str:
    """Return the calls of an attempt, one per line, as a solution holds them."""
    if job is None:
        return ""
    tries: list[dict[str, str]] = [{}] if source.chance(0.5) else []
    tries.append(draw_needed(source, [job]))
    calls = [command for beliefs in tries for command in commands(job, beliefs)]
    return "\n".join(json.dumps({"name": "run", "arguments": {"command": c}}) for c in calls)
