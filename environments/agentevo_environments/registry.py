"""The environments that exist by name, and the one place where they are made.

A name is an entry point of the group `agentevo.environments`, of any installed distribution, or a
dotted path `package.module:Class`. Listing the names imports nothing.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from agentevo_environments.environment import Environment
from agentevo_environments.errors import OptionError, RegistrationError, UnknownNameError
from agentevo_environments.sandboxes.base import Sandbox

GROUP = "agentevo.environments"
"""The entry-point group that environments register in."""

_GIVEN_BY_NAME = frozenset(
    {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
)


def environment_names() -> tuple[str, ...]:
    """Return the registered names, sorted."""
    return tuple(sorted(_registered()))


def environment_class(name: str) -> type[Environment]:
    """Return the class of a registered name or of a dotted path `package.module:Class`.

    Raises:
        UnknownNameError: Nothing of this name is registered; the message lists what is.
        RegistrationError: It is registered but cannot be imported, or is not an environment.
    """
    loaded = _load(_entry_point(name))
    if not (inspect.isclass(loaded) and issubclass(loaded, Environment)):
        raise RegistrationError(
            f"{name!r} is {loaded!r}, not a subclass of agentevo_environments.Environment"
        )
    if inspect.isabstract(loaded):
        missing = ", ".join(sorted(loaded.__abstractmethods__))
        raise RegistrationError(f"the environment {name!r} does not define: {missing}")
    return loaded


def environment_options(name: str) -> Mapping[str, inspect.Parameter]:
    """Return the options that an environment's constructor takes by name, `sandbox` left out."""
    return _options_of(environment_class(name))


def make_environment(
    name: str, *, sandbox_factory: Callable[[], Sandbox] | None = None, **options: object
) -> Environment:
    """Make an environment from its name and options.

    Args:
        name: A registered name or `package.module:Class`.
        sandbox_factory: Makes the sandbox of an environment that needs one; None for the
            embedded default. The environment owns what it returns.
        options: Keyword arguments of the environment's constructor; a text is converted to
            the annotated type of its parameter.

    Raises:
        UnknownNameError: There is no such environment, or it has no such option.
        RegistrationError: The environment cannot be imported.
        OptionError: A required option is missing, or the environment refuses a value.
    """
    kind = environment_class(name)
    allowed = _options_of(kind)
    if unknown := sorted(set(options) - set(allowed)):
        raise UnknownNameError(
            f"the environment {name!r} has no option {unknown[0]!r}; "
            f"its options: {', '.join(allowed) or 'none'}"
        )
    required = [o for o, p in allowed.items() if p.default is p.empty and o not in options]
    if required:
        raise OptionError(f"the environment {name!r} needs the option {required[0]!r}; give it")
    options = {
        option: _converted(name, allowed[option], given) for option, given in options.items()
    }
    if kind.needs_sandbox:
        options["sandbox"] = (sandbox_factory or _embedded_sandbox)()
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise OptionError(f"the environment {name!r} refuses its options: {error}") from error


def _options_of(kind: type[Environment]) -> Mapping[str, inspect.Parameter]:
    parameters = inspect.signature(kind, eval_str=True).parameters
    return {
        option: parameter
        for option, parameter in parameters.items()
        if option != "sandbox" and parameter.kind in _GIVEN_BY_NAME
    }


def _converted(name: str, parameter: inspect.Parameter, given: object) -> object:
    if not isinstance(given, str) or parameter.annotation is parameter.empty:
        return given
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(parameter.annotation).validate_python(given)
    except ValidationError as error:
        raise OptionError(
            f"the option {parameter.name!r} of the environment {name!r} is {given!r}, "
            f"which is not a {inspect.formatannotation(parameter.annotation)}"
        ) from error


def _registered() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise RegistrationError(
                f"the environment name {point.name!r} is taken twice: {_origin(other)} and "
                f"{_origin(point)}; uninstall one of them"
            )
    return found


def _entry_point(name: str) -> EntryPoint:
    if ":" in name:
        return EntryPoint(name=name, value=name, group=GROUP)
    registered = _registered()
    if name not in registered:
        raise UnknownNameError(
            f"unknown environment {name!r}; there are: {', '.join(sorted(registered)) or 'none'}; "
            "or give a class as package.module:Class"
        )
    return registered[name]


def _load(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        # Importing somebody's module can raise anything; it is named and passed on.
        raise RegistrationError(
            f"the environment {point.name!r} ({_origin(point)}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name}" if point.dist else point.value


def _embedded_sandbox() -> Sandbox:
    from agentevo_environments.sandboxes import make_sandbox

    return make_sandbox()
