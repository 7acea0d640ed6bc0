"""How hard a family of worlds is, and which seeds belong to which split."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from agentevo_environments.packs.quirks.worlds import HARD_KINDS, all_slots

Feedback = Literal["explicit", "expected", "pass_fail"]
Tier = Literal["basic", "hard", "drift"]
Combinations = Literal["trained", "any"]
MOST_PER_TASK = 6
_AT_LEAST_ONE = ("step_limit", "tasks_per_world")

SEEDS = {
    "train": range(0, 1_000_000),
    "validation": range(1_000_000, 2_000_000),
    "test": range(2_000_000, 3_000_000),
    "demo": range(3_000_000, 3_001_000),
}
RESERVED_NAME_SPLITS = ("validation", "test", "demo")


@dataclass(frozen=True, slots=True)
class Difficulty:
    """The knobs of a family of worlds.

    Attributes:
        quirks_per_world: Number of quirks in each world.
        fewest_per_task: Smallest number of quirks that one task meets.
        most_per_task: Largest number of quirks that one task meets.
        tasks_per_world: Consecutive tasks that share a world.
        step_limit: Largest number of commands in one episode.
        feedback: What an error says: "explicit" (what would be right), "expected" (what was
            expected and what was got) or "pass_fail".
        errors: Whether an error names "all" problems of a command or only the "first".
        tier: "basic"; "hard" adds offsets and conditions; "drift" changes half of the quirks of
            each world halfway through its tasks.
        combinations: Which quirks one task may meet together: "trained" leaves out the
            combinations that are kept from pre-training, "any" does not.
        attempts: Number of failed commands that ends an episode; 0 sets no such end. With 1 the
            agent sees what was wrong, for the next time, and has no second try.
    """

    quirks_per_world: int = 12
    fewest_per_task: int = 1
    most_per_task: int = 3
    tasks_per_world: int = 10
    step_limit: int = 12
    feedback: Feedback = "explicit"
    errors: Literal["all", "first"] = "all"
    tier: Tier = "basic"
    combinations: Combinations = "trained"
    attempts: int = 0

    def __post_init__(self) -> None:
        """Refuse settings for which no task can exist.

        Raises:
            ValueError: A setting is out of range or contradicts another; the message says which.
        """
        allowed = {
            "feedback": get_args(Feedback),
            "errors": ("all", "first"),
            "tier": get_args(Tier),
            "combinations": get_args(Combinations),
        }
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; it is one of {', '.join(choices)}"
                )
        for field in fields(self):
            value, least = getattr(self, field.name), field.name in _AT_LEAST_ONE
            if isinstance(value, int) and value < least:
                raise ValueError(f"{field.name} is {value!r}; it must be at least {least:d}")
        self._check_counts()

    def _check_counts(self) -> None:
        if not 0 <= self.fewest_per_task <= self.most_per_task <= MOST_PER_TASK:
            raise ValueError(
                f"a task meets from {self.fewest_per_task!r} to {self.most_per_task!r} quirks; choose "
                f"0 <= fewest_per_task <= most_per_task <= {MOST_PER_TASK}"
            )
        slots = len(all_slots())
        if not max(1, self.most_per_task) <= self.quirks_per_world <= slots:
            raise ValueError(
                f"quirks_per_world is {self.quirks_per_world!r}; choose from most_per_task "
                f"({self.most_per_task}) to {slots}"
            )
        if self.step_limit < 2 * (self.most_per_task > 0) + 1:
            raise ValueError(
                f"step_limit is {self.step_limit!r}: a required step and the command itself need 2, "
                "and an error to learn from 1 more; choose 3 or more"
            )

    @property
    def hard_kinds(self) -> tuple[str, ...]:
        """The quirk kinds that the tier adds."""
        return HARD_KINDS if self.tier == "hard" else ()
