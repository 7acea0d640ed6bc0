"""`HeldOut`: f_E on held-out tasks: scores, abilities, and the causes of what failed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentevo.acquisition.run_agent import RunAgent
from agentevo.evaluation.diagnosis import diagnose
from agentevo.recall import Memory
from agentevo.runs.directory import create_run
from agentevo.runs.outcomes import read_outcomes
from agentevo.runs.report import RunReport
from agentevo.stages import Evaluation, Round
from agentevo_environments.task import Task

MOST_NOTES = 5


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Does held-out tasks once, with an agent and a memory that is only asked.

    Attributes:
        agent: Who acts.
        memory: What may be recalled from, or None.
        label: Names the run; under the same label nothing is done twice.
    """

    agent: RunAgent
    memory: Memory | None
    label: str

    def evaluate(self, tasks: Sequence[Task], now: Round) -> Evaluation:
        """Return scores, mean scores of the environment and of every scope, and failures."""
        del now
        report = self.agent.carry_out(tasks, label=self.label, memory=self.memory)
        return self.of(tasks, report)

    def of(self, tasks: Sequence[Task], report: RunReport) -> Evaluation:
        """Return what a run that was done says."""
        outcomes = read_outcomes(
            create_run(self.agent.settings, self.label), self.agent.environment
        )
        scores = {episode.task_id: float(episode.solved) for episode in report.episodes}
        notes = tuple(str(each) for each in diagnose(outcomes.values())[:MOST_NOTES])
        return Evaluation(scores, abilities(scores, tasks, self.agent.environment), notes)


def abilities(
    scores: Mapping[str, float], tasks: Sequence[Task], environment: str
) -> dict[str, float]:
    """Return the mean score of the environment and of every scope, by ability."""
    groups: dict[str, list[float]] = {}
    for task in tasks:
        if task.id in scores:
            for ability in filter(None, (environment, task.scope)):
                groups.setdefault(ability, []).append(scores[task.id])
    return {ability: sum(found) / len(found) for ability, found in groups.items()}
