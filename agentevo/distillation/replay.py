"""Replay: what the agent did elsewhere and must go on doing, as it was done.

The episodes of other scopes, with whatever stood in their prompts, errors and corrections included,
and the reflections on those that met errors.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from agentevo.distillation.dataset import Probe, Tools
from agentevo.prompts import REFLECTION_INSTRUCTIONS, render_reflection
from agentevo.runs.transcripts import read_transcripts


def replay_probes(checkpoints: Iterable[Path], tools: Tools = ()) -> Iterator[Probe]:
    """Yield the finished episodes of some runs as prompts to leave as they are.

    Args:
        checkpoints: The runs' `checkpoints.sqlite` files.
        tools: The tools that their prompts declared.
    """
    for path in checkpoints:
        for transcript in read_transcripts(path):
            scope, prompt = str(transcript.task["scope"]), str(transcript.task["prompt"])
            yield Probe("replay", scope, transcript.system, transcript.messages, tools)
            if any(turn.error for turn in transcript.turns):
                yield reflection_probe(scope, render_reflection(prompt, transcript.turns))


def reflection_probe(scope: str, question: str) -> Probe:
    """Return the prompt that asks for the rules of an episode."""
    asked = ({"role": "user", "content": question},)
    return Probe("replay", scope, REFLECTION_INSTRUCTIONS, asked)
