"""What an agent is told in a quirky world: the documentation and the task."""

from agentevo_environments.packs.quirks.jobs import Job


def instructions(tool: str) -> str:
    """Return the documentation, naming the tool that takes the commands."""
    return (
        f"You operate a service with the tool {tool}.\n"
        "A command is: do ACTION obj OBJECT to PLACE color COLOR FLAG"
    )


INSTRUCTIONS = instructions("run")


def task_prompt(world: str, job: Job, day: int | None = None) -> str:
    """Return the task as the agent is told it; drifting worlds say the day."""
    when = f"Day {day}. " if day is not None else ""
    return f"{when}In {world}: {job.text}."
