"""Small pieces of GBNF text that every grammar is put together from."""

from collections.abc import Sequence


def literal(text: str) -> str:
    """Return the GBNF literal of `text`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def either(options: Sequence[str]) -> str:
    """Return the expression of any of `options`."""
    distinct = list(dict.fromkeys(options))
    return distinct[0] if len(distinct) == 1 else f"({' | '.join(distinct)})"


def joined(parts: Sequence[str]) -> list[str]:
    """Return the parts, all but the first with a comma before them."""
    return [f'", " {part}' if i else part for i, part in enumerate(parts)]


def repeat(item: str, parts: Sequence[str], least: int, most: int) -> str:
    """Return the array body of `parts` and then items, `least` to `most` in all."""
    n = len(parts)
    if n:
        return f'{" ".join(joined(parts))} (", " {item}){{{least - n},{most - n}}}'
    tail = f'{item} (", " {item}){{{max(0, least - 1)},{most - 1}}}'
    return f"({tail})" if least else f"({tail})?"
