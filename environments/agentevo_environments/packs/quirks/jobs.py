"""A job: one thing to get done in a world, what it touches, and the commands that do it.

`Beliefs` maps slots to what one believes about a world; slots that are absent are believed to be
as documented. The world's true quirks are the beliefs of the oracle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import TypeAlias

from agentevo_environments.packs.quirks import service
from agentevo_environments.task import JSONValue

Beliefs: TypeAlias = Mapping[str, str]
COLORED_SHARE = 0.3
PLAIN_ACTIONS = tuple(a for a, needs in service.ACTIONS.items() if "num" not in needs)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done.

    Attributes:
        action: A documented action.
        item: The object it is done to.
        place: Where to, for actions that need it.
        color: Which color, or None.
        number: A number from 1 to 5 for actions that need it.
    """

    action: str
    item: str
    place: str | None = None
    color: str | None = None
    number: int | None = None

    @property
    def text(self) -> str:
        """The job in words, such as "move the red box to the shelf"."""
        if "color" in service.ACTIONS[self.action]:
            return f"{self.action} the {self.item} {self.color}"
        color = f"{self.color} " if self.color else ""
        place = f" to the {self.place}" if self.place else ""
        number = f" to {self.number}" if self.number is not None else ""
        return f"{self.action} the {color}{self.item}{place}{number}"

    @property
    def goal(self) -> dict[str, JSONValue]:
        """What the service's state holds of the object when the job is done."""
        given: dict[str, JSONValue] = {"to": self.place, "color": self.color, "num": self.number}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def slots(self) -> list[str]:
        """The slots of a world's quirks that this job touches, in the order of a plan."""
        slots = [f"command {self.action}", f"step {self.action}", f"flag {self.action}", "key obj"]
        if self.place:
            slots += ["key to", f"value {self.place}"]
        if self.color:
            slots += ["key color", f"value {self.color}"]
        return slots

    @property
    def hard_slots(self) -> list[str]:
        """The slots of the harder tier that this job touches."""
        slots = [f"condition {self.action} {self.item}"]
        if self.number is not None:
            slots += ["key num", f"offset {self.action}"]
        return slots


def draw_job(random: Random, actions: tuple[str, ...] = PLAIN_ACTIONS) -> Job:
    """Draw a job among `actions`."""
    action = random.choice(actions)
    needs = service.ACTIONS[action]
    colored = "color" in needs or ("num" not in needs and random.random() < COLORED_SHARE)
    return Job(
        action=action,
        item=random.choice(service.OBJECTS),
        place=random.choice(service.PLACES) if "to" in needs else None,
        color=random.choice(service.COLORS) if colored else None,
        number=random.randint(1, 5) if "num" in needs else None,
    )


def commands(job: Job, beliefs: Beliefs) -> list[str]:
    """Return the commands that do `job` if `beliefs` are true, the required step first."""

    def key(word: str) -> str:
        return beliefs.get(f"key {word}", word)

    words = ["do", beliefs.get(f"command {job.action}", job.action), key("obj"), job.item]
    if job.place:
        words += [key("to"), beliefs.get(f"value {job.place}", job.place)]
    if job.color:
        words += [key("color"), beliefs.get(f"value {job.color}", job.color)]
    if job.number is not None:
        words += [key("num"), str(job.number + int(beliefs.get(f"offset {job.action}", "0")))]
    for slot in (f"flag {job.action}", f"condition {job.action} {job.item}"):
        flag = beliefs.get(slot, service.NOTHING)
        words += [] if flag == service.NOTHING else [flag]
    step = beliefs.get(f"step {job.action}", service.NOTHING)
    first = [] if step == service.NOTHING else [f"do {step} {key('obj')} {job.item}"]
    return [*first, " ".join(words)]


def with_item(job: Job, item: str) -> Job:
    """Return the same job on another object."""
    return replace(job, item=item)
