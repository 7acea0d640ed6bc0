"""`EvolutionReport`: what an evolution did, decided and achieved, as kept in `report.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from agentevo.evaluation.comparison import Arm

Autonomy = Literal["low", "medium", "high"]


@dataclass(frozen=True, slots=True)
class EvolutionReport:
    """An evolution so far.

    Attributes:
        id: The evolution.
        status: "finished", or "stopped" and resumable.
        autonomy: "low": objective and recipe were given; "medium": only the objective; "high": not
            even that.
        decisions: Who chose what: user, model or default, by matter, with the reason.
        environment: Name of the environment.
        model: The model's spec.
        seed: The seed.
        recipe: The recipe as values.
        objective: The tree of abilities as values.
        tasks: How many tasks were practised on, held out for the gate, and for the exam.
        rounds: One entry per round.
        weights: One entry per distillation, with the gate's evidence.
        ended: Why it ended.
        generations: The generation that was served before, and the one served now.
        adapter: The adapter that is served now; None for the bare base.
        rules: Verified rules that are served now, in the prompt or held by the adapter.
        arms: Control arms on the exam.
        comparisons: Every arm that learnt against each of its controls.
        cost: Episodes, tokens and seconds that learning took.
        retention: Held-out success of every scope under every generation that was served.
        elsewhere: What the served adapter left as it was; see `ask_elsewhere`.
        notes: What a reader should know, such as tasks left out because of a leak.
        started_at: Seconds since the epoch.
        seconds: Seconds of work, pauses left out.
    """

    id: str
    status: Literal["finished", "stopped"]
    autonomy: Autonomy
    decisions: Mapping[str, str]
    environment: str
    model: str
    seed: int
    recipe: Mapping[str, Any]
    objective: Mapping[str, Any]
    tasks: Mapping[str, int]
    rounds: tuple[Mapping[str, Any], ...] = ()
    weights: tuple[Mapping[str, Any], ...] = ()
    ended: str = ""
    generations: Mapping[str, str | None] = field(default_factory=dict)
    adapter: str | None = None
    rules: tuple[str, ...] = ()
    arms: tuple[Arm, ...] = ()
    comparisons: tuple[Mapping[str, Any], ...] = ()
    cost: Mapping[str, float] = field(default_factory=dict)
    retention: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    started_at: float = 0.0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        plain = asdict(self)
        return {
            **plain,
            "rounds": [dict(entry) for entry in self.rounds],
            "weights": [dict(entry) for entry in self.weights],
            "rules": list(self.rules),
            "arms": [arm.to_json() for arm in self.arms],
            "comparisons": [dict(entry) for entry in self.comparisons],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "EvolutionReport":
        """Return the report that `to_json` described."""
        return cls(
            **{
                **data,
                "rounds": tuple(data["rounds"]),
                "weights": tuple(data["weights"]),
                "rules": tuple(data["rules"]),
                "arms": tuple(Arm.from_json(arm) for arm in data["arms"]),
                "comparisons": tuple(data["comparisons"]),
                "notes": tuple(data["notes"]),
            }
        )
