"""`Distiller`: one call from the runs of an agent to a registered adapter, and the probes to judge it.

What it makes is a candidate: registered, never served before somebody activates it. A distillation
bears a label; asked for again under the same label it goes on where a kill left it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agentevo.distillation.counterfactuals import Copies, counterfactual_probes
from agentevo.distillation.dataset import (
    Dataset,
    DatasetSettings,
    Practice,
    Probe,
    build_dataset,
)
from agentevo.distillation.decontamination import Decontaminator
from agentevo.distillation.jobs import Job, open_job, plan_job, run_job
from agentevo.distillation.practice import Setting, answer_of, practice_of
from agentevo.distillation.probes import AdapterProbes, adapter_questions
from agentevo.distillation.registry import Adapter, AdapterRegistry
from agentevo.distillation.replay import replay_probes
from agentevo.distillation.settings import TrainSettings
from agentevo.distillation.trainer import Progress
from agentevo.models.llama.chat import ChatLlamaEngine

PARALLEL = "max_sequences=8"


@dataclass(frozen=True, slots=True)
class Distiller:
    """Makes adapters of one base model for one environment.

    Attributes:
        home: The data folder; jobs lie in `distillations`, adapters in `adapters`.
        base: The GGUF file that is served.
        setting: What prompts of the environment have in common, and the rules that may be taught.
        fresh_scopes: Scope names that no task uses; without any, only targets are trained.
        train: Every number of the training.
        data: What may become a row.
        copies: How many counterfactuals each episode gives.
    """

    home: Path
    base: Path
    setting: Setting
    fresh_scopes: Sequence[str] = ()
    train: TrainSettings = field(default_factory=TrainSettings)
    data: DatasetSettings = field(default_factory=DatasetSettings)
    copies: Copies = field(default_factory=Copies)

    @property
    def registry(self) -> AdapterRegistry:
        """Where the adapters are."""
        return AdapterRegistry(self.home / "adapters")

    @property
    def jobs(self) -> Path:
        """Where the distillations are."""
        return self.home / "distillations"

    def model(self, adapter: Adapter | None = None, *, scale: float = 1.0) -> ChatLlamaEngine:
        """Return the base with an adapter, or alone; all models of a base share one engine."""
        model = ChatLlamaEngine.from_uri(f"{self.base}?{PARALLEL}", temperature=0.0, adapters={})
        if adapter is None:
            return model
        loaded = model.engine.model.adapters.load(adapter.gguf)
        return model.model_copy(update={"adapters": {loaded.id: scale}})

    def practice(self, checkpoints: Iterable[Path]) -> list[Practice]:
        """Return the episodes of some runs with the rules that may be taught."""
        return list(practice_of(checkpoints, self.setting))

    def plan(
        self,
        checkpoints: Iterable[Path],
        *,
        replay: Iterable[Path] = (),
        evaluation: Decontaminator | None = None,
    ) -> Dataset:
        """Return the rows that a distillation would learn from; nothing is trained.

        Args:
            checkpoints: `checkpoints.sqlite` of the runs to learn from.
            replay: The same of runs in other scopes, whose behaviour has to stay.
            evaluation: Evaluation items that must not leak.

        Raises:
            AdapterError: There is nothing to distil.
        """
        practice = self.practice(checkpoints)
        return build_dataset(
            practice,
            [*self._counterfactuals(practice), *replay_probes(replay, self.setting.tools)],
            answer_of(self.model()),
            settings=self.data,
            evaluation=evaluation,
        )

    def _counterfactuals(self, practice: Sequence[Practice]) -> list[Probe]:
        usable = [episode for episode in practice if episode.solved and episode.rule_ids]
        fresh = sorted(set(self.fresh_scopes) - {episode.scope for episode in practice})
        if not fresh or not usable:
            return []
        made = counterfactual_probes(usable, fresh, copies=self.copies, seed=self.train.seed)
        return list(made)

    def distil(
        self,
        checkpoints: Iterable[Path],
        *,
        label: str,
        replay: Iterable[Path] = (),
        evaluation: Decontaminator | None = None,
        on_step: Callable[[Progress], None] | None = None,
    ) -> Adapter:
        """Learn from runs and register the adapter; it is not served.

        Args:
            checkpoints: `checkpoints.sqlite` of the runs to learn from.
            label: Name of the distillation. What is finished under it is returned, what was
                killed goes on; its rows and settings are those of the first call.
            replay: The same of runs in other scopes, whose behaviour has to stay.
            evaluation: Evaluation items that must not leak.
            on_step: Called after every step of the training.

        Raises:
            AdapterError: There is nothing to distil, the training broke, or llama.cpp disagrees
                with its result; nothing is registered then.
        """
        job = self._job(label)
        if job is None:
            dataset = self.plan(checkpoints, replay=replay, evaluation=evaluation)
            job = plan_job(self.jobs, self.base, dataset, self.train, label=label)
        return run_job(job, self.registry, on_step=on_step)

    def _job(self, label: str) -> Job | None:
        planned = (self.jobs / label / "plan.json").is_file()
        return open_job(self.jobs, label) if planned else None

    def probes(
        self, adapter: Adapter, checkpoints: Iterable[Path], *, names: int = 4
    ) -> AdapterProbes:
        """Return what the gate asks of an adapter.

        Args:
            adapter: The candidate.
            checkpoints: `checkpoints.sqlite` of runs of held-out tasks with rules in the prompt.
            names: How many other scope names each episode is asked under.
        """
        questions = adapter_questions(
            self.practice(checkpoints), self.fresh_scopes, names=names, seed=self.train.seed
        )
        return AdapterProbes(questions, answer_of(self.model(adapter)), answer_of(self.model()))
