"""Where each record lies among several tables of rows, such as the blocks of vectors of one slot."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Columns

Rids = NDArray[np.int64]


class Places:
    """In which table, and in which row of it, each record lies: in one at most.

    Two arrays over all row numbers: a dictionary would take a cache miss for every record asked for.
    """

    def __init__(self) -> None:
        self._columns = Columns({"table": "i4", "row": "i4"})

    def enter(self, rids: Rids, table: int, rows: NDArray[np.integer]) -> None:
        """Note where records lie from now on; table 0 for nowhere."""
        if len(rids):
            self._columns.resize(max(len(self._columns), int(rids.max()) + 1))
        self._columns["table"][rids] = table
        self._columns["row"][rids] = rows

    def of(self, rids: Rids) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return table and row of each record; table 0 for those that have none."""
        known = (rids >= 0) & (rids < len(self._columns))
        if known.all():
            return self._columns["table"][rids], self._columns["row"][rids]
        found = np.zeros((2, len(rids)), np.int32)
        found[0, known] = self._columns["table"][rids[known]]
        found[1, known] = self._columns["row"][rids[known]]
        return found[0], found[1]

    def rows_in(self, table: int, rids: Sequence[int] | Rids) -> NDArray[np.int32]:
        """Return the row of each record in one table; -1 for those that are not in it."""
        tables, rows = self.of(np.asarray(rids, np.int64))
        return np.where(tables == table, rows, np.int32(-1))
