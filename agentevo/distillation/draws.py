"""`Draws`: which rows a step learns from; what is not learnt yet comes more often.

Half of the draws are uniform, so that no row is forgotten; half are in proportion to the latest loss of
each row, as in prioritised replay (Schaul et al. 2016, arXiv 1511.05952), without its correction: rows
that are already right have nothing to say.
"""

from collections.abc import Mapping, Sequence
from random import Random

from agentevo.distillation.rows import RowKind


class Draws:
    """Draws rows by kind.

    Args:
        rows: Indices of the rows of each kind.
        latest: The latest loss of each row so far, to continue from.
    """

    def __init__(
        self, rows: Mapping[RowKind, Sequence[int]], latest: Mapping[int, float] | None = None
    ) -> None:
        self._rows = rows
        self.latest: dict[int, float] = dict(latest or {})

    def draw(self, kind: RowKind, count: int, random: Random) -> list[int]:
        """Return indices of rows of a kind; none if there are none or none are wanted."""
        rows = self._rows.get(kind, ())
        if not rows or not count:
            return []
        known = [self.latest[row] for row in rows if row in self.latest]
        unseen = max(known, default=0.0)
        losses = [max(self.latest.get(row, unseen), 0.0) for row in rows]
        evenly = sum(losses) / len(losses) or 1.0
        return random.choices(rows, [loss + evenly for loss in losses], k=count)

    def learn(self, rows: Sequence[int], losses: Sequence[float]) -> None:
        """Take note of the losses of rows that were drawn."""
        self.latest.update(zip(rows, losses, strict=True))
