"""The exam: the served memory and its controls on tasks that nothing has seen before.

Controls: `stateless` (no memory), `history` (the latest episodes verbatim, as many prompt tokens as
the memory uses on the same task), `best_of_n` (as many attempts as the generated tokens of learning
and recalling would pay for; any success counts, which favours the control).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentevo.evaluation.comparison import Arm
from agentevo.graph.context import EvolutionContext
from agentevo.recall import Memory, Outcome, Recalled
from agentevo.runs.directory import RunDirectory, run_directories
from agentevo.runs.outcomes import read_outcomes
from agentevo.runs.report import RunReport
from agentevo_memory.retrieval import count_tokens

MOST_ATTEMPTS = 8
EXAM = "exam"


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
        """Return the latest episodes, cut where the tokens of the memory are used up."""
        offered = self.memory.recall(
            query, environment=environment, scope=scope, budget_tokens=budget_tokens
        )
        left = sum(count_tokens(entry.text) for entry in offered)
        shown = []
        for outcome in self.episodes:
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
    """Return the arms of an evolution: stateless, history, best_of_n, memory."""
    tasks = context.splits.exam
    stateless = context.agent.carry_out(tasks, label=f"{EXAM}-stateless", memory=None)
    with context.line.open() as memory:
        with_memory = context.agent.carry_out(tasks, label=f"{EXAM}-memory", memory=memory)
        history = context.agent.carry_out(
            tasks, label=f"{EXAM}-history", memory=History(_practised(context), memory)
        )
    learning = cost_of_learning(context)["output_tokens"]
    paid = learning + with_memory.output_tokens
    attempts = max(1, min(MOST_ATTEMPTS, round(paid / max(1, stateless.output_tokens))))
    tries = [
        context.agent.carry_out(tasks, label=f"{EXAM}-best{number}", memory=None)
        for number in range(1, attempts + 1)
    ]
    return (
        _arm("stateless", [stateless], "no memory"),
        _arm("history", [history], "latest episodes verbatim, at the memory's prompt tokens"),
        _arm(
            "best_of_n",
            tries,
            f"{attempts} attempts, any success counts; equal generated tokens pay for "
            f"{paid / max(1, stateless.output_tokens):.1f}",
        ),
        _arm("memory", [with_memory], "the memory that is served"),
    )


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
        if number.isdecimal() and not purpose.startswith(("gate", "replay")):
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
