"""`RunReport`: what a run did, each episode exactly once, as it is kept in `report.json`.

F_t and S_t of the survey at the level of one run: scores with their uncertainty, and what they cost.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RunStatus = Literal["finished", "stopped", "running", "interrupted"]
FailureType = Literal["model", "sandbox", "environment", "memory", "budget"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an episode ended other than by the agent's own doing.

    Attributes:
        type: The part that failed; "budget" when steps, tokens or time were used up.
        message: What happened, in one line or a few.
    """

    type: FailureType
    message: str


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """The outcome of one episode.

    Attributes:
        episode_id: `<run id>:<task id>`.
        task_id: The task.
        solved: The environment's verdict.
        score: From 0 to 1.
        detail: The environment's reason, in one line.
        failure: What broke or ran out, or None.
        actions: Actions done in the environment.
        graph_steps: Steps of the episode graph.
        input_tokens: Tokens read by the model.
        output_tokens: Tokens written by the model.
        seconds: Time the episode took, without the time a stopped run lay idle.
        model_s: Share of `seconds` in the model.
        environment_s: Share of `seconds` in the environment and its sandbox.
        recalled: Ids of the records of memory that were in the prompt.
        attempts: 1, or 2 when a dead sandbox was replaced.
    """

    episode_id: str
    task_id: str
    solved: bool
    score: float
    detail: str = ""
    failure: Failure | None = None
    actions: int = 0
    graph_steps: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    model_s: float = 0.0
    environment_s: float = 0.0
    recalled: tuple[str, ...] = ()
    attempts: int = 1

    @property
    def overhead_s(self) -> float:
        """Seconds outside model and environment: graph, checkpoints, events."""
        return max(0.0, self.seconds - self.model_s - self.environment_s)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), "recalled": list(self.recalled)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EpisodeResult":
        """Return the result that `to_json` described."""
        failure = data.get("failure")
        return cls(
            **{
                **data,
                "failure": Failure(**failure) if failure else None,
                "recalled": tuple(data.get("recalled", ())),
            }
        )


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did so far.

    Attributes:
        id: The run id.
        status: "finished"; "stopped" by a signal and resumable; "running" in another process;
            "interrupted" when its process died, resumable.
        environment: Name of the environment.
        model: The model's spec.
        total: Tasks of the run.
        episodes: Results in the order of the tasks, each task at most once.
        started_at: Seconds since the epoch when the run was created.
        seconds: Wall-clock seconds of the process that wrote the report.
        seed: The seed of the run.
        versions: Versions of Python and of the packages that matter.
        settings: The resolved settings.
        containment: What the sandbox holds back, or None without a sandbox.
    """

    id: str
    status: RunStatus
    environment: str
    model: str
    total: int
    episodes: tuple[EpisodeResult, ...] = ()
    started_at: float = 0.0
    seconds: float = 0.0
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    containment: Mapping[str, Any] | None = None

    @property
    def solved(self) -> int:
        """Number of episodes that were solved."""
        return sum(episode.solved for episode in self.episodes)

    @property
    def failed(self) -> int:
        """Number of episodes with a failure, exhausted budgets included."""
        return sum(episode.failure is not None for episode in self.episodes)

    @property
    def rate(self) -> float:
        """Share of the finished episodes that were solved; 0 when none is finished."""
        return self.solved / len(self.episodes) if self.episodes else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `rate`."""
        return wilson_interval(self.solved, len(self.episodes))

    @property
    def input_tokens(self) -> int:
        """Tokens read by the model."""
        return sum(episode.input_tokens for episode in self.episodes)

    @property
    def output_tokens(self) -> int:
        """Tokens written by the model."""
        return sum(episode.output_tokens for episode in self.episodes)

    def time_split(self) -> dict[str, float]:
        """Return milliseconds per graph step in the model, the environment, and outside both."""
        steps = max(1, sum(episode.graph_steps for episode in self.episodes))
        return {
            "model_ms": 1e3 * sum(episode.model_s for episode in self.episodes) / steps,
            "environment_ms": 1e3 * sum(episode.environment_s for episode in self.episodes) / steps,
            "overhead_ms": 1e3 * sum(episode.overhead_s for episode in self.episodes) / steps,
        }

    def summary(self) -> dict[str, Any]:
        """Return everything but the episodes as JSON values, derived figures included."""
        return {
            "id": self.id,
            "run_id": self.id,
            "status": self.status,
            "environment": self.environment,
            "model": self.model,
            "solved": self.solved,
            "total": self.total,
            "finished": len(self.episodes),
            "failed": self.failed,
            "rate": self.rate,
            "interval": list(self.interval),
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "started_at": self.started_at,
            "seconds": self.seconds,
            "time_per_graph_step": self.time_split(),
            "seed": self.seed,
            "versions": dict(self.versions),
            "settings": dict(self.settings),
            "containment": dict(self.containment) if self.containment is not None else None,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values: `summary()` plus `episodes`."""
        return {**self.summary(), "episodes": [episode.to_json() for episode in self.episodes]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunReport":
        """Return the report that `to_json` described; derived figures are computed anew."""
        stored = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        episodes = tuple(EpisodeResult.from_json(entry) for entry in data.get("episodes", ()))
        return cls(**{**stored, "episodes": episodes})


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion; (0, 1) without trials.

    Args:
        successes: From 0 to `trials`.
        trials: Number of independent trials.
        z: Quantile of the normal distribution; the default gives 95 %.
    """
    if trials == 0:
        return (0.0, 1.0)
    share = successes / trials
    denominator = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials**2)) / denominator
    return (max(0.0, centre - half), min(1.0, centre + half))
