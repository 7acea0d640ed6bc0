"""`RunAgent`: an `Agent` whose episodes are durable runs with fixed ids, so that none is done twice."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from agentevo.config import Settings
from agentevo.errors import AgentevoError, ModelError
from agentevo.events import Event
from agentevo.models import AnyModel
from agentevo.recall import Memory, Outcome, Recalled
from agentevo.runs.directory import RunDirectory, create_run
from agentevo.runs.drain import Drain
from agentevo.runs.outcomes import read_outcomes
from agentevo.runs.report import RunReport
from agentevo.runs.run import RunPlan, carry_out
from agentevo.runs.worker import World
from agentevo_environments.task import Task


class DrainedError(AgentevoError):
    """The episodes were asked to stop before all were done; doing them again goes on there."""


class StopRequest(Drain):
    """The request to stop of a whole evolution, which reaches the run in progress and later ones."""

    def __init__(self) -> None:
        super().__init__()
        self._runs: list[Drain] = []

    def request(self, reason: str = "shutdown") -> None:
        """Ask the run in progress to stop, and let no other start."""
        super().request(reason)
        for drain in list(self._runs):
            drain.request(reason)

    @contextmanager
    def one_run(self) -> Iterator[Drain]:
        """Give the drain of one run; a run ends by requesting its own."""
        drain = Drain()
        self._runs.append(drain)
        try:
            if self.requested:
                drain.request()
            yield drain
        finally:
            self._runs.remove(drain)


@dataclass(frozen=True, slots=True)
class RecallOnly:
    """A memory that is asked but not told: what episodes leave is written by the update stage."""

    memory: Memory

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        """Return what the memory offers."""
        return self.memory.recall(
            query, environment=environment, scope=scope, budget_tokens=budget_tokens
        )

    def observe(self, outcome: Outcome) -> None:
        """Leave the memory as it is."""
        del outcome


@dataclass(slots=True)
class RunAgent:
    """Attempts tasks in runs `<home>/runs/<label>`.

    Attributes:
        settings: What the runs are asked to do; they lie under `settings.home`.
        model: Who acts and answers.
        make_world: Makes an environment for one worker.
        memory: What may be recalled from, or None.
        pool: Ids of the tasks that the environment knows.
        stop: Asks the runs to stop.
        on_event: Called with every event of the runs.
        environment: Name that the environment gives itself; "" for the name in the settings.
    """

    settings: Settings
    model: AnyModel
    make_world: Callable[[], World]
    memory: Memory | None = None
    pool: frozenset[str] = frozenset()
    stop: StopRequest = field(default_factory=StopRequest)
    on_event: Callable[[Event], None] | None = None
    environment: str = ""

    def __post_init__(self) -> None:
        self.environment = self.environment or self.settings.env.name

    def attempt(
        self, tasks: Sequence[Task], *, label: str, recall: bool = True
    ) -> Mapping[str, Outcome]:
        """Do one episode per task; see `Agent.attempt`.

        The ids of runs and episodes bear the name of their home, since a memory outlives it.

        Raises:
            DrainedError: The drain was requested; the episodes done so far are kept.
            RunError: The run cannot be written, or had other tasks before.
        """
        self.carry_out(tasks, label=label, memory=self.memory if recall else None)
        directory = create_run(self.settings, label)
        home = self.settings.home.name
        return {
            task_id: replace(
                outcome,
                run_id=f"{home}/{outcome.run_id}",
                episode_id=f"{home}/{outcome.episode_id}",
            )
            for task_id, outcome in read_outcomes(directory, self.environment).items()
        }

    def carry_out(self, tasks: Sequence[Task], *, label: str, memory: Memory | None) -> RunReport:
        """Do the episodes of one run with a memory that is only asked; returns its report.

        Raises:
            DrainedError: The drain was requested; the episodes done so far are kept.
            RunError: The run cannot be written, or had other tasks before.
        """
        directory = create_run(self.settings, label)
        report = directory.read_report()
        if report is None or report.status != "finished":
            port = RecallOnly(memory) if memory is not None else None
            plan = RunPlan(self.settings, tasks, self.model, self.make_world, port)
            report = self._run(directory, plan)
        if report.status != "finished":
            raise DrainedError(
                f"{label}: {len(report.episodes)} of {report.total} episodes are done"
            )
        return report

    def _run(self, directory: RunDirectory, plan: RunPlan) -> RunReport:
        """Carry out a run beside the calling thread, whose signal handlers stay as they are."""
        with self.stop.one_run() as drain, ThreadPoolExecutor(1) as pool:
            work = pool.submit(carry_out, directory, plan, on_event=self.on_event, drain=drain)
            return work.result()

    def ask(self, prompt: str, *, system: str = "") -> str:
        """Return the model's answer to a text, under a system prompt if one is given.

        Raises:
            ModelError: The model only replays known actions.
        """
        if not isinstance(self.model, BaseChatModel):
            raise ModelError(
                f"the model {self.settings.model.spec!r} replays known actions and answers no "
                "questions; choose a chat model, or a recipe without model feedback"
            )
        told = [SystemMessage(system)] if system else []
        return self.model.invoke([*told, HumanMessage(prompt)]).text

    def can_attempt(self, task: Task) -> bool:
        """Whether the environment knows the task."""
        return task.id in self.pool

    def with_memory(self, memory: Memory | None) -> "RunAgent":
        """Return the same agent with another memory."""
        return replace(self, memory=memory)

    def with_model(self, model: AnyModel) -> "RunAgent":
        """Return the same agent with another model."""
        return replace(self, model=model)
