"""The exam: the served memory and its controls on tasks that nothing has seen before.

Controls, all of the bare base: `stateless` (no memory), `history` (the latest episodes of the same
scope verbatim, then the latest of others, as many prompt tokens as the memory uses on the same
task), `best_of_n` (as many attempts as the generated tokens of learning and recalling would pay for;
the first is greedy, the others are sampled; any success counts, which favours the control).
`memory` is the bare base told every live rule; `memory_weights`, where an adapter is served, is told
only what the adapter does not hold.

`stateless` and `best_of_n` need nothing that is learnt, so most of them is done beside a distillation,
which leaves the engine idle; their seconds are then those of a shared processor.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel

from agentevo.acquisition.run_agent import DrainedError, RunAgent
from agentevo.evaluation.comparison import Arm
from agentevo.graph.context import EvolutionContext
from agentevo.models import AnyModel
from agentevo.recall import Memory, Outcome, Recalled
from agentevo.runs.directory import RunDirectory, run_directories
from agentevo.runs.outcomes import read_outcomes
from agentevo.runs.report import RunReport
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.in_weight import hold_rules
from agentevo_memory.retrieval import count_tokens

EXAM = "exam"
MEMORY_RUN = f"{EXAM}-memory"
"""The run of the arm `memory`."""
LEARNING_ARMS = ("memory", "memory_weights")
NOT_HISTORY = ("gate", "replay", "weights")
SAMPLING_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """A memory that keeps no rules: it shows the latest episodes as they were.

    Attributes:
        episodes: Practised episodes, the latest first.
        memory: Whose use of tokens is matched, query by query.
    """

    episodes: Sequence[Outcome]
    memory: Memory

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        """Return the latest episodes, the same scope first, as far as the memory's tokens go."""
        offered = self.memory.recall(
            query, environment=environment, scope=scope, budget_tokens=budget_tokens
        )
        left = sum(count_tokens(entry.text) for entry in offered)
        shown = []
        for outcome in sorted(self.episodes, key=lambda outcome: outcome.scope != scope):
            text = verbatim(outcome)
            while text and count_tokens(text) > left:
                text = text[: int(len(text) * 0.8)]
            if not text:
                break
            shown.append(Recalled(outcome.episode_id, "experience", text, 1.0, trusted=False))
            left -= count_tokens(text)
        return shown

    def observe(self, outcome: Outcome) -> None:
        """Learn nothing during the exam."""
        del outcome


def verbatim(outcome: Outcome) -> str:
    """Return an episode as text: the task, and every action with its observation."""
    turns = [f"{turn.action} -> {turn.observation}" for turn in outcome.turns]
    verdict = "solved" if outcome.solved else "not solved"
    return "\n".join([f"Task: {outcome.prompt}", *turns, verdict])


def take_exam(context: EvolutionContext) -> tuple[Arm, ...]:
    """Return the arms: stateless, history, best_of_n, memory, and memory_weights with an adapter."""
    tasks, bare = context.splits.exam, context.bare_agent
    stateless = _stateless(bare, context)
    with all_told(context) as memory:
        with_memory = bare.carry_out(tasks, label=MEMORY_RUN, memory=memory)
        history = bare.carry_out(
            tasks, label=f"{EXAM}-history", memory=History(_practised(context), memory)
        )
    arms = [
        _arm("stateless", [stateless], "no memory"),
        _arm("history", [history], "latest episodes verbatim, at the memory's prompt tokens"),
        _best_of_n(context, with_memory, stateless),
        _arm("memory", [with_memory], "every live rule in the prompt, no adapter"),
    ]
    if context.served_adapter is not None:
        with context.line.open() as memory:
            served = context.agent.carry_out(tasks, label=f"{EXAM}-weights", memory=memory)
        held = f"adapter {context.served_adapter}; the rules that it holds are not told"
        arms.append(_arm("memory_weights", [served], held))
    return tuple(arms)


def take_controls(context: EvolutionContext) -> None:
    """Do what of the exam needs nothing that is learnt, as far as learning has paid for it already.

    It is done once: the exam finds it. Its events are not told, and a request to stop ends it.
    """
    bare = replace(context.bare_agent, on_event=None)
    with suppress(DrainedError):
        stateless = _stateless(bare, context)
        _attempts(bare, context, _paid_for(context, stateless), stateless)


def _stateless(bare: RunAgent, context: EvolutionContext) -> RunReport:
    return bare.carry_out(context.splits.exam, label=f"{EXAM}-stateless", memory=None)


def _best_of_n(context: EvolutionContext, memory: RunReport, stateless: RunReport) -> Arm:
    fair = _paid_for(context, stateless, memory.output_tokens)
    tries = _attempts(context.bare_agent, context, fair, stateless)
    return _arm(
        "best_of_n",
        tries,
        f"{len(tries)} attempts, any success counts; the generated tokens of learning pay for {fair}",
    )


def _paid_for(context: EvolutionContext, stateless: RunReport, more: int = 0) -> int:
    """Return for how many attempts the generated tokens of learning, and some more, pay."""
    paid = cost_of_learning(context)["output_tokens"] + more
    return max(1, round(paid / max(1, stateless.output_tokens)))


def _attempts(
    bare: RunAgent, context: EvolutionContext, fair: int, stateless: RunReport
) -> Sequence[RunReport]:
    """Return the attempts of `best_of_n`: as many as are fair, and as the recipe allows."""
    attempts = min(context.recipe.evaluation.most_attempts, fair)
    return [stateless] + [
        replace(bare, model=_sampled(bare.model, number)).carry_out(
            context.splits.exam, label=f"{EXAM}-best{number}", memory=None
        )
        for number in range(2, attempts + 1)
    ]


def _sampled(model: AnyModel, seed: int) -> AnyModel:
    """Return the model so that a further attempt is not the same one again, where it can sample."""
    fields = type(model).model_fields if isinstance(model, BaseChatModel) else {}
    if not isinstance(model, BaseChatModel) or "temperature" not in fields:
        return model
    if getattr(model, "temperature", None):
        return model
    changes: dict[str, object] = {"temperature": SAMPLING_TEMPERATURE}
    if "seed" in fields:
        changes["seed"] = seed
    return model.model_copy(update=changes)


@contextmanager
def all_told(context: EvolutionContext) -> Iterator[InContextMemory]:
    """Give the served memory with every live rule told, none held by weights."""
    if context.served_adapter is None:
        with context.line.open() as memory:
            yield memory
        return
    context.line.fork(EXAM)
    with context.line.open(EXAM) as memory:
        hold_rules(memory.store, (), reason="the exam compares memory alone")
        yield memory


def cost_of_learning(context: EvolutionContext) -> Mapping[str, float]:
    """Return episodes, tokens and seconds of everything but the exam."""
    reports = [
        report
        for directory in run_directories(context.agent.settings.home)
        if not directory.id.startswith(EXAM) and (report := directory.read_report()) is not None
    ]
    return {
        "episodes": sum(len(report.episodes) for report in reports),
        "input_tokens": sum(report.input_tokens for report in reports),
        "output_tokens": sum(report.output_tokens for report in reports),
        "seconds": sum(e.seconds for report in reports for e in report.episodes),
    }


def _practised(context: EvolutionContext) -> list[Outcome]:
    """Return the episodes of all rounds, the latest first."""
    own = {task.id for task in context.splits.practice}
    found: list[tuple[int, Outcome]] = []
    for directory in run_directories(context.agent.settings.home):
        number, _, purpose = directory.id.partition("-")
        if number.isdecimal() and not purpose.startswith(NOT_HISTORY):
            outcomes = _outcomes(directory, context)
            found += [(int(number), outcome) for outcome in outcomes if outcome.task_id in own]
    found.sort(key=lambda pair: (pair[0], pair[1].episode_id), reverse=True)
    return [outcome for _, outcome in found]


def _outcomes(directory: RunDirectory, context: EvolutionContext) -> list[Outcome]:
    return list(read_outcomes(directory, context.agent.environment).values())


def _arm(name: str, reports: Sequence[RunReport], note: str) -> Arm:
    solved: dict[str, bool] = {}
    for report in reports:
        for episode in report.episodes:
            solved[episode.task_id] = solved.get(episode.task_id, False) or episode.solved
    return Arm(
        name,
        solved,
        sum(report.input_tokens for report in reports),
        sum(report.output_tokens for report in reports),
        sum(episode.seconds for report in reports for episode in report.episodes),
        note,
    )
