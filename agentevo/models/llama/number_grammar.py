"""Grammars of exactly the integers or decimal numbers within bounds, and within a digit limit.

An expression here is a piece of GBNF that may stand alone, in a sequence or before a repetition.
"""

from dataclasses import dataclass
from typing import Final

from agentevo.models.llama.errors import SchemaError

_FRACTION_DIGITS: Final = 15
_FRACTION: Final = f'("." [0-9]{{1,{_FRACTION_DIGITS}}})?'
_ZERO_FRACTION: Final = f'("." "0"{{1,{_FRACTION_DIGITS}}})?'
_POSITIVE_FRACTION: Final = (
    f'"." "0"{{0,{_FRACTION_DIGITS - 1}}} [1-9] [0-9]{{0,{_FRACTION_DIGITS - 1}}}'
)


@dataclass(frozen=True, slots=True)
class Interval:
    """Whole-number bounds of a number.

    Attributes:
        low: Smallest value.
        high: Largest value.
        low_open: Whether `low` itself is excluded.
        high_open: Whether `high` itself is excluded.
    """

    low: int
    high: int
    low_open: bool = False
    high_open: bool = False


def integers(low: int, high: int) -> str:
    """Return the expression of every integer from `low` to `high`, both included.

    Raises:
        SchemaError: There is none.
    """
    if low > high:
        raise SchemaError(f"no integer is at least {low} and at most {high}; correct the bounds")
    options = []
    if low < 0:
        options.append(f'"-" {_naturals(max(1, -high), -low)}')
    if high >= 0:
        options.append(_naturals(max(0, low), high))
    return _either(options)


def decimals(interval: Interval) -> str:
    """Return the expression of every decimal number in the interval, up to 15 decimal places.

    Raises:
        SchemaError: There is none.
    """
    low, high = interval.low, interval.high
    options = []
    if low < 0:
        mirrored = Interval(
            max(0, -high), -low, interval.high_open and high <= 0, interval.low_open
        )
        options += [f'"-" {part}' for part in _unsigned(mirrored)]
    if high > 0 or (high == 0 and not interval.high_open):
        options += _unsigned(
            Interval(max(0, low), high, interval.low_open and low >= 0, interval.high_open)
        )
    if not options:
        raise SchemaError(f"no number lies in {interval}; correct the bounds")
    return _either(options)


def _unsigned(interval: Interval) -> list[str]:
    low, high = interval.low, interval.high
    if low > high or (low == high and (interval.low_open or interval.high_open)):
        return []
    options = []
    first = low
    if interval.low_open and low < high:
        options.append(f'"{low}" {_POSITIVE_FRACTION}')
        first += 1
    if first < high:
        options.append(f"{_naturals(first, high - 1)} {_FRACTION}")
    if not interval.high_open:
        options.append(f'"{high}" {_ZERO_FRACTION}')
    return options


def _naturals(low: int, high: int) -> str:
    """Return the expression of the integers `low` to `high`, neither negative."""
    options = []
    for length in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 10 ** (length - 1) if length > 1 else 0)
        most = min(high, 10**length - 1)
        options.append(_same_length(str(least), str(most)))
    return _either(options)


def _same_length(low: str, high: str) -> str:
    """Return the expression of the digit strings from `low` to `high`, equally long."""
    if low == high:
        return f'"{low}"'
    shared = next(i for i in range(len(low)) if low[i] != high[i])
    prefix = f'"{low[:shared]}" ' if shared else ""
    low, high = low[shared:], high[shared:]
    rest = len(low) - 1
    if not rest:
        return f"{prefix}[{low}-{high}]"
    first, last = int(low[0]), int(high[0])
    options = []
    if low[1:] != "0" * rest:
        options.append(f'"{first}" {_same_length(low[1:], "9" * rest)}')
        first += 1
    ends_early = high[1:] != "9" * rest
    if first <= last - ends_early:
        options.append(f"[{first}-{last - ends_early}] [0-9]{{{rest}}}")
    if ends_early:
        options.append(f'"{last}" {_same_length("0" * rest, high[1:])}')
    return f"{prefix}{_either(options)}"


def _either(options: list[str]) -> str:
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"
