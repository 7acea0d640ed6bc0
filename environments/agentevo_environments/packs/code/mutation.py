"""A mutated solution: the same code with every returned value changed; it must fail its tests.

The change is made after the original function returned, so it cannot cancel itself in recursion;
no changed value equals the original, and what the original does to its arguments is undone.
"""

_TEMPLATE = """\
import copy

_ORIGINAL = {source!r}


def _mutated(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + "?"
    if isinstance(value, list):
        return [*value, None]
    return ("mutated", value)


def {name}(*args, **kwargs):
    namespace = {{"__name__": __name__}}
    exec(_ORIGINAL, namespace)
    args, kwargs = copy.deepcopy((args, kwargs))
    return _mutated(namespace[{name!r}](*args, **kwargs))
"""


def mutated(source: str, name: str) -> str:
    """Return a module whose function `name` never returns what that of `source` returns."""
    return _TEMPLATE.format(source=source, name=name)
