"""A sequential, anytime-valid test of paired differences.

A bettor starts with wealth 1 and stakes a share of it on every pair; if the candidate is not
better than allowed, no stake makes money on average, so the wealth reaches 1/alpha with
probability at most alpha, however often one looks (Ville 1939). The bets are those of
Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B 2024),
section 4, mixed uniformly over a grid of fixed stakes instead of being tuned.

Where the number of pairs is limited beforehand and every task is solved or not, the wealth at which
to reject can be lower than 1/alpha and still err at most alpha: it is computed exactly from the
worst case, a fair walk in which every pair differs.
"""

from collections.abc import Iterable
from functools import cache

STAKES = tuple(step / 20 for step in range(1, 20))


class PairedTest:
    """Tests the hypothesis that the mean difference is at most `-margin`.

    Differences are candidate minus incumbent on the same task, in [-1, 1]. They need not be
    identically distributed; only their conditional means matter.

    Args:
        alpha: Probability of a false rejection over the whole sequence, in (0, 1).
        margin: How much worse the candidate may be, in [0, 1). 0 tests for a gain; above 0 tests
            for non-inferiority.
        horizon: Largest number of pairs, if it was fixed beforehand.

    Attributes:
        pairs: Pairs seen.
        total: Sum of their differences.
    """

    def __init__(
        self, *, alpha: float = 0.05, margin: float = 0.0, horizon: int | None = None
    ) -> None:
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha lies between 0 and 1, not {alpha!r}")
        if not 0.0 <= margin < 1.0:
            raise ValueError(f"a margin lies in [0, 1), not {margin!r}")
        self.alpha = alpha
        self.margin = margin
        self.pairs = 0
        self.total = 0.0
        self._exact = horizon is not None and margin == 0.0
        self._horizon = horizon or 0
        self._largest = 1.0
        self._wealth = [1.0] * len(STAKES)

    def update(self, difference: float) -> None:
        """Take in the next pair.

        Raises:
            ValueError: The difference lies outside [-1, 1], or the horizon is passed.
        """
        if self._horizon and self.pairs >= self._horizon:
            raise ValueError(f"the test was planned for {self._horizon} pairs; start another")
        if not -1.0 <= difference <= 1.0:
            raise ValueError(f"a difference of scores lies in [-1, 1], not {difference!r}")
        gained = difference + self.margin
        self._wealth = [
            wealth * (1 + stake * gained)
            for wealth, stake in zip(self._wealth, STAKES, strict=True)
        ]
        self.pairs += 1
        self.total += difference
        self._exact = self._exact and difference in (-1.0, 0.0, 1.0)
        self._largest = max(self._largest, self.e_value)

    def extend(self, differences: Iterable[float]) -> "PairedTest":
        """Take in several pairs in order and return self."""
        for difference in differences:
            self.update(difference)
        return self

    @property
    def e_value(self) -> float:
        """The present wealth: evidence against the hypothesis."""
        return sum(self._wealth) / len(self._wealth)

    @property
    def threshold(self) -> float:
        """The wealth at which the hypothesis is rejected."""
        return critical_wealth(self.alpha, self._horizon) if self._exact else 1 / self.alpha

    @property
    def p_value(self) -> float:
        """An anytime-valid p-value: how likely the hypothesis reaches the largest wealth so far.

        Exact where the threshold is, at most one over that wealth elsewhere; it is at most alpha if
        and only if the hypothesis is rejected.
        """
        if self._exact:
            return _crossing_probability(self._largest * (1 - 1e-9), self._horizon)
        return 1 / self._largest

    @property
    def rejected(self) -> bool:
        """Whether the wealth reached the threshold at some moment."""
        return self._largest >= self.threshold

    @property
    def mean(self) -> float:
        """Mean difference so far; 0 before the first pair."""
        return self.total / self.pairs if self.pairs else 0.0

    def within_reach(self, remaining: int) -> bool:
        """Whether `remaining` further pairs, all won, could still reject."""
        if self.rejected:
            return True
        best = sum(
            wealth * (1 + stake * (1 + self.margin)) ** remaining
            for wealth, stake in zip(self._wealth, STAKES, strict=True)
        )
        return best / len(STAKES) >= self.threshold


@cache
def critical_wealth(alpha: float, horizon: int) -> float:
    """Return the wealth that a fair +1/-1 walk of `horizon` steps ever reaches with probability alpha.

    At most 1/alpha. Pairs that tie do not move the wealth, and a candidate that loses more often
    than it wins reaches it more rarely, so the fair walk without ties is the worst case.
    """
    low, high = 1.0, 1 / alpha
    for _ in range(40):
        middle = (low + high) / 2
        if _crossing_probability(middle, horizon) <= alpha:
            high = middle
        else:
            low = middle
    return high


def _crossing_probability(wealth: float, horizon: int) -> float:
    """Probability that the wealth reaches `wealth` within `horizon` fair steps, exactly."""
    alive = {0: 1.0}
    crossed = 0.0
    for step in range(1, horizon + 1):
        following: dict[int, float] = {}
        for won, probability in alive.items():
            for now_won in (won, won + 1):
                if _wealth_after(now_won, step - now_won) >= wealth:
                    crossed += probability / 2
                else:
                    following[now_won] = following.get(now_won, 0.0) + probability / 2
        alive = following
    return crossed


@cache
def _wealth_after(won: int, lost: int) -> float:
    return sum((1 + stake) ** won * (1 - stake) ** lost for stake in STAKES) / len(STAKES)
