"""Accuracies by role: what tells learning from a falling loss."""

from collections.abc import Mapping

from agentevo.seed_model.transcript import Role

KEPT = 0.97


class Accuracies:
    """Right and all predictions by role, older ones fading.

    Attributes:
        counts: (right, all) by role.
    """

    def __init__(self, counts: Mapping[int, tuple[float, float]] | None = None) -> None:
        self.counts: dict[int, tuple[float, float]] = dict(counts or {})

    def add(self, fresh: Mapping[int, tuple[int, int]], *, kept: float = KEPT) -> None:
        """Add the counts of one batch; earlier counts of its roles weigh `kept`."""
        for role, (right, total) in fresh.items():
            old_right, old_total = self.counts.get(role, (0.0, 0.0))
            self.counts[role] = (old_right * kept + right, old_total * kept + total)

    def of(self, role: int) -> float:
        """Return the accuracy of a role, 0 when it has not occurred."""
        right, total = self.counts.get(role, (0.0, 0.0))
        return right / total if total else 0.0

    def by_name(self) -> dict[str, float]:
        """Return the accuracies by the names of the roles."""
        return {Role(role).name.lower(): self.of(role) for role in sorted(self.counts)}

    def clear(self) -> None:
        """Forget everything."""
        self.counts.clear()
