"""The gold policy: plan by what is believed, act, read the errors, plan again."""

from dataclasses import dataclass, field
from typing import Any

from agentevo.recall import Turn
from agentevo.seed_model.curriculum import Source
from agentevo.seed_model.scenes import Scene, mislead
from agentevo.seed_model.transcript import Role, Spans, Transcript
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.jobs import Job, commands
from agentevo_environments.packs.quirks.worlds import World, kind_of

ATTEMPTS = 5


def plan(world: World, slots: list[str], beliefs: dict[str, str]) -> Spans:
    """Return the plan that recites what is believed of each slot."""
    spans: Spans = [("Plan:", Role.FRAME)]
    for position, slot in enumerate(slots):
        key = slot.split(" ", 1)[1]
        documented = service.default(slot)
        value = beliefs.get(slot) or documented
        spans.append((f" {world.name} {key} {service.RELATIONS[kind_of(slot)]}", Role.KEY))
        spans.append((f" {value}", Role.DEFAULT if value == documented else Role.RULE))
        if position < len(slots) - 1:
            spans.append((";", Role.KEY))
    return spans


def call(command: str, job: Job) -> Spans:
    """Return a command as spans."""
    words = command.split(" ")
    first = Role.STEP if words[1] in service.STEPS else Role.COMMAND
    spans: Spans = [("do", Role.FRAME), (f" {words[1]}", first)]
    pairs = 1 + (job.place is not None) + (job.color is not None)
    for position, word in enumerate(words[2:]):
        spans.append((f" {word}", Role.ARGUMENT if position < 2 * pairs else Role.FLAG))
    return spans


@dataclass(slots=True)
class Actor:
    """Pursues one job in a scene, writing a transcript.

    Attributes:
        source: Where mistakes are drawn from.
        transcript: What is written.
        scene: World and beliefs; the beliefs grow.
        job: What is to be done.
        tool: Name of the tool.
        state: The service's state.
        turns: What was done and answered.
    """

    source: Source
    transcript: Transcript
    scene: Scene
    job: Job
    tool: str = "run"
    state: dict[str, Any] = field(default_factory=lambda: {"steps": [], "objects": {}})
    turns: list[Turn] = field(default_factory=list)

    @property
    def reached(self) -> bool:
        """Whether the job is done."""
        return bool(self.state["objects"] == {self.job.item: {self.job.action: self.job.goal}})

    def pursue(self, mistakes: float = 0.0) -> list[Turn]:
        """Act until the job is done, learning from every error.

        Args:
            mistakes: Chance of a deliberate mistake, halved after every attempt; the model is not
                trained to make it, only to recover from it.
        """
        for _ in range(ATTEMPTS):
            wrong = None
            if self.source.chance(mistakes):
                wrong = mislead(self.source, self.scene, self.job)
            self._attempt(wrong)
            if self.reached:
                break
            self.scene.learn(self.job, self.turns[-1].observation)
            mistakes /= 2
        self.transcript.assistant([("done" if self.reached else "failed", Role.OTHER)])
        return self.turns

    def _attempt(self, wrong: dict[str, str] | None) -> None:
        """Plan and act once, by `wrong` beliefs or else by the scene's own."""
        beliefs = self.scene.beliefs if wrong is None else wrong
        for position, command in enumerate(commands(self.job, beliefs)):
            words = [] if position else plan(self.scene.world, self.job.slots, beliefs)
            self.transcript.assistant(
                words, call=call(command, self.job), tool=self.tool, learn=wrong is None
            )
            text, error = service.answer(self.scene.world.as_json(), self.state, command)
            self.transcript.tool(text)
            self.turns.append(Turn(action=command, observation=text, error=error))
            if error:
                return
