"""From the names of a recipe to strategies that can be called, with what each of them needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, runtime_checkable

from agentevo.acquisition.feedback import (
    Critique,
    EnvironmentFeedback,
    ExactMatch,
    Execution,
    Judge,
)
from agentevo.acquisition.run_agent import RunAgent
from agentevo.acquisition.solutions import SOLUTIONS, Sample, attempt_all, hint_of
from agentevo.acquisition.tasks import SELECTIVE, Diverse, Rewrite, SelfInstruct
from agentevo.graph.ports import Ports
from agentevo.recall import Memory, Outcome
from agentevo.refinement.correctors import Chain, FlipMatrix, Retry, Revise
from agentevo.refinement.filters import MajorityVote, Pairs, Threshold
from agentevo.stages import (
    Experience,
    FeedbackGiver,
    Refined,
    Refiner,
    Round,
    Solution,
    SolutionEvolver,
    TaskEvolver,
    Updater,
)
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.keeping import Forget, Insert, Resolve
from agentevo.updating.reflection import ModelReflector, ReflectRules, ReflectVerbally
from agentevo_environments.sandboxes.base import Sandbox
from agentevo_environments.task import Task
from agentevo_memory import Policy
from agentevo_memory.operations.reflect import Reflector
from agentevo_memory.reflectors import reflect_on_errors

MakeUpdater = Callable[[InContextMemory, int], Updater]
"""From the memory of a round, and its number, to an update in context."""


def _without_ports(make: Callable[[], TaskEvolver]) -> Callable[[Ports], TaskEvolver]:
    return lambda ports: make()


TASKS: Final[Mapping[str, Callable[[Ports], TaskEvolver]]] = {
    **{name: _without_ports(made) for name, made in SELECTIVE.items()},
    "diverse": lambda ports: Diverse(lambda texts: ports.embedder.embed(list(texts))),
    "self_instruct": lambda ports: SelfInstruct(ports.ask),
    "rewrite": lambda ports: Rewrite(ports.ask),
}
FEEDBACK: Final[Mapping[str, Callable[[Ports], FeedbackGiver]]] = {
    "environment": lambda ports: EnvironmentFeedback(),
    "match": lambda ports: ExactMatch(),
    "execution": lambda ports: Execution(_sandbox(ports)),
    "judge": lambda ports: Judge(ports.ask),
    "critique": lambda ports: Critique(ports.ask),
}
REFINEMENT: Final[Mapping[str, Callable[[Ports], Refiner]]] = {
    "threshold": lambda ports: Threshold(ports.recipe.refinement.least),
    "majority_vote": lambda ports: MajorityVote(ports.recipe.refinement.least_share),
    "pairs": lambda ports: Pairs(ports.recipe.refinement.least_gap),
    "retry": lambda ports: _Retried(ports, "retry", _errors_of),
    "revise": lambda ports: _Revised(ports, "revise"),
}
"""Strategies by the name that a recipe uses; `recipes.STRATEGIES` lists the same names."""


def _sandbox(ports: Ports) -> Sandbox:
    assert ports.sandbox is not None, "check_ports comes first"
    return ports.sandbox


def _errors_of(entry: Experience) -> str:
    return hint_of(entry.solution.outcome) if entry.solution.outcome else ""


@runtime_checkable
class Corrector(Protocol):
    """A refiner that changes attempts and counts which way they flip."""

    name: str

    @property
    def flips(self) -> FlipMatrix:
        """What it has done so far."""
        ...


@dataclass(slots=True)
class _Retried:
    """`Retry` through the agent: each further attempt is told what `advise` says of the last."""

    ports: Ports
    name: str
    advise: Callable[[Experience], str]
    _retry: Retry = field(init=False)
    _now: int = field(default=0, init=False)
    _tried: dict[str, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        tries = self.ports.recipe.refinement.tries
        self._retry = Retry(self._attempt, EnvironmentFeedback(), tries)

    @property
    def flips(self) -> FlipMatrix:
        """What it has done so far."""
        return self._retry.flips

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return every experience, the failed ones replaced by their last retry."""
        self._now, self._tried = now.number, {}
        if self.flips.harmful:
            return Refined(tuple(experiences))
        return self._retry.refine(experiences, now)

    def _attempt(self, entry: Experience) -> Solution:
        task = entry.task
        if not self.ports.agent.can_attempt(task):
            return entry.solution
        number = self._tried[task.id] = self._tried.get(task.id, 0) + 1
        made = attempt_all(
            self.ports.agent,
            [task],
            label=f"{self._now}-{self.name}{number}-{_slug(task.id)}",
            instruct=lambda _: self.advise(entry),
            recall=True,
        )
        return replace(made[0], revised_from=entry.solution.text, strategy=self.name)


@dataclass(slots=True)
class _Revised:
    """A critique, then another attempt: in the environment where it knows the task, else in words."""

    ports: Ports
    name: str
    _retried: _Retried = field(init=False)
    _written: Revise = field(init=False)

    def __post_init__(self) -> None:
        critic = Critique(self.ports.ask)

        def advise(entry: Experience) -> str:
            return critic.assess(entry.solution).text

        self._retried = _Retried(self.ports, "revise", advise)
        judges = [
            name for name in ("match", "execution") if name in self.ports.recipe.feedback.sources
        ]
        judge = FEEDBACK[judges[0] if judges else "judge"](self.ports)
        tries = self.ports.recipe.refinement.tries
        self._written = Revise(self.ports.ask, critic, judge, tries)

    @property
    def flips(self) -> FlipMatrix:
        """What both ways have done so far."""
        one, two = self._retried.flips, self._written.flips
        return FlipMatrix(
            one.repaired + two.repaired, one.broken + two.broken, one.unchanged + two.unchanged
        )

    def refine(self, experiences: Sequence[Experience], now: Round) -> Refined:
        """Return every experience, corrected where the critic asked for it."""
        known = [e for e in experiences if self.ports.agent.can_attempt(e.task)]
        invented = [e for e in experiences if not self.ports.agent.can_attempt(e.task)]
        done = self._retried.refine(known, now), self._written.refine(invented, now)
        return Refined(done[0].kept + done[1].kept)


def _slug(task_id: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in task_id)


@dataclass(frozen=True, slots=True)
class Stages:
    """The strategies of a recipe, ready to be called.

    Attributes:
        ports: What they were made from.
        tasks: f_T.
        solutions: f_Y, one after the other.
        feedback: f_F, each gives its own opinion.
        refiner: f_R.
        correctors: The parts of the refiner that change attempts.
        more: Further updates in context, after the recipe's.
    """

    ports: Ports
    tasks: TaskEvolver
    solutions: tuple[SolutionEvolver, ...]
    feedback: tuple[FeedbackGiver, ...]
    refiner: Refiner
    correctors: tuple[Corrector, ...] = ()
    more: Mapping[str, MakeUpdater] = field(default_factory=dict)

    @property
    def makes_tasks(self) -> bool:
        """Whether tasks may be invented."""
        return self.ports.recipe.tasks.strategy not in (*SELECTIVE, "diverse")

    def givers(self, *, judge: bool) -> tuple[FeedbackGiver, ...]:
        """Return f_F, without the judge if it is switched off."""
        return tuple(each for each in self.feedback if judge or not isinstance(each, Judge))

    def notes(self) -> tuple[str, ...]:
        """Return what the guards of the strategies did, in words."""
        return tuple(
            f"the corrector {each.name!r} was switched off: it broke {each.flips.broken} attempts "
            f"and repaired {each.flips.repaired}"
            for each in self.correctors
            if each.flips.harmful
        )

    def updaters(self, memory: InContextMemory, number: int) -> list[tuple[str, Updater]]:
        """Return f_U in context over the memory of a round, in order, each with its name."""
        stage, ports = self.ports.recipe.in_context, self.ports
        environment = ports.agent.environment
        made: list[tuple[str, Updater]] = []
        if stage.insert != "none" or stage.reflect != "none":
            made.append(("insert", Insert(memory, environment)))
        if stage.reflect != "none":
            replay = _replay(ports.agent, number) if stage.verify else None
            reflector: Reflector = reflect_on_errors
            if stage.reflect == "model":
                reflector = ModelReflector(ports.agent.ask)
            identity = f"{stage.reflect}@1"
            rules = ReflectRules(memory, environment, reflector, identity, replay, stage.resolve)
            made.append(("reflect", rules))
        if stage.lessons:
            made.append(("lessons", ReflectVerbally(memory, ports.agent.ask)))
        if stage.resolve:
            made.append(("resolve", Resolve(memory)))
        made += [
            (step.policy, Forget(memory, _policy(step.policy, step.model_dump())))
            for step in stage.forget
        ]
        return [*made, *((name, make(memory, number)) for name, make in self.more.items())]


def _policy(name: str, step: Mapping[str, object]) -> Policy:
    values = {key: value for key, value in step.items() if key != "policy"}
    return Policy(name=name, **values)  # type: ignore[arg-type]


def _replay(
    agent: RunAgent, number: int
) -> Callable[[Sequence[Task], Memory], Mapping[str, Outcome]]:
    def replay(tasks: Sequence[Task], memory: Memory) -> Mapping[str, Outcome]:
        known = [task for task in tasks if agent.can_attempt(task)]
        if not known:
            return {}
        return agent.with_memory(memory).attempt(known, label=f"{number}-replay")

    return replay


def assemble(ports: Ports, more: Mapping[str, MakeUpdater] | None = None) -> Stages:
    """Return the strategies that a recipe names, and further updates in context."""
    recipe = ports.recipe

    def solution(name: str) -> SolutionEvolver:
        if name == "sample":
            return Sample(ports.agent, recipe.solutions.samples)
        return SOLUTIONS[name](ports.agent)

    refiners = [REFINEMENT[name](ports) for name in recipe.refinement.strategies]
    return Stages(
        ports,
        TASKS[recipe.tasks.strategy](ports),
        tuple(solution(name) for name in recipe.solutions.strategies),
        tuple(FEEDBACK[name](ports) for name in recipe.feedback.sources),
        Chain(tuple(refiner.refine for refiner in refiners)),
        tuple(each for each in refiners if isinstance(each, Corrector)),
        more or {},
    )
