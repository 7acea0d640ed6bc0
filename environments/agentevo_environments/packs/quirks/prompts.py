"""What an agent is told in a quirky world: the documentation and the task."""

from agentevo_environments.packs.quirks.jobs import Job

_USE = "You operate a service with the tool {tool}.\n"
_FORM = "A command is: do ACTION obj OBJECT to PLACE color COLOR FLAG"


def instructions(tool: str) -> str:
    """Return the documentation, naming the tool that takes the commands."""
    return _USE.format(tool=tool) + _FORM


INSTRUCTIONS = instructions("run")
HARD_INSTRUCTIONS = INSTRUCTIONS.replace(" FLAG", " num NUMBER FLAG")


def task_prompt(world: str, job: Job, day: int | None = None) -> str:
    """Return the task as the agent is told it; drifting worlds say the day."""
    when = f"Day {day}. " if day is not None else ""
    return f"{when}In {world}: {job.text}."
