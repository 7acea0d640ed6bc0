"""Where settings come from: layers of values, each with its origin, merged into one tree.

Precedence: command line, then `--set`, then environment (`AGENTEVO_ENV__NAME=code` sets
`env.name`), then `agentevo.toml` (or `[tool.agentevo]` of `pyproject.toml`) in the working
directory, then defaults.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource, SettingsError

from agentevo.config.tree import Settings
from agentevo.errors import ConfigError


class Layer(NamedTuple):
    """The settings that one source gives."""

    origin: str
    """Where they come from, as shown to the user, such as "command line"."""
    values: dict[str, Any]
    """Nested like `Settings`; only what the source sets."""


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    sets: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings that the sources give together; see `read_layers` for the arguments.

    Raises:
        ConfigError: A setting is unknown or out of range, or a file cannot be read.
    """
    layers = read_layers(overrides, sets=sets, file=file, environ=environ)
    return merge_layers(layers)


def read_layers(
    overrides: Mapping[str, Any] | None = None,
    *,
    sets: Sequence[str] = (),
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Layer]:
    """Return the layers of settings, the strongest first.

    Args:
        overrides: Values of command-line options, nested like `Settings`.
        sets: Assignments such as "run.concurrency=8"; "none" stands for None.
        file: TOML file to read. Default: `agentevo.toml`, else `pyproject.toml`, where present.
        environ: Environment variables. Default: those of the process.
    """
    environ = os.environ if environ is None else environ
    return [
        Layer("command line", dict(overrides or {})),
        _read_sets(sets),
        _read_environ(environ),
        _read_file(file),
    ]


def merge_layers(layers: Sequence[Layer]) -> Settings:
    """Return the settings of all layers, earlier layers winning key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _fill(merged, layer.values)
    try:
        return Settings(**merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain_all(error, layers))) from None


def origin_of(key: str, layers: Sequence[Layer]) -> str:
    """Return which layer sets a key such as "env.n", or "default"."""
    for layer in layers:
        node: Any = layer.values
        for part in key.split("."):
            node = node.get(part, _ABSENT) if isinstance(node, dict) else _ABSENT
        if node is not _ABSENT:
            return layer.origin
    return "default"


_ABSENT = object()


def _fill(target: dict[str, Any], weaker: Mapping[str, Any]) -> None:
    for key, value in weaker.items():
        if isinstance(value, dict) and isinstance(target.setdefault(key, {}), dict):
            _fill(target[key], value)
        else:
            target.setdefault(key, value)


def _read_file(file: Path | None) -> Layer:
    paths = [Path("agentevo.toml"), Path("pyproject.toml")] if file is None else [file]
    for path in paths:
        if file is None and not path.is_file():
            continue
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot read the settings file {str(path)!r}: {error}; correct it or remove it"
            ) from None
        if path.name == "pyproject.toml":
            values = values.get("tool", {}).get("agentevo", {})
        return Layer(str(path), values)
    return Layer("no file", {})


def _read_environ(environ: Mapping[str, str]) -> Layer:
    prefix = "agentevo_"
    texts = {}
    for name, text in environ.items():
        key = name.lower().removeprefix(prefix)
        known = "__" in key or key in Settings.model_fields
        if known and name.lower().startswith(prefix):
            texts[key] = text
    return _read_texts(texts, "environment")


def _read_sets(sets: Sequence[str]) -> Layer:
    texts = {}
    for assignment in sets:
        key, equals, text = assignment.partition("=")
        if not (key.strip() and equals):
            raise ConfigError(f"cannot read --set {assignment!r}; write it as section.key=value")
        texts[key.strip().replace(".", "__")] = text
    return _read_texts(texts, "--set")


def _read_texts(texts: Mapping[str, str], origin: str) -> Layer:
    """Nest keys such as env__n; text stays text except in free options, where JSON is read."""
    for key in texts:
        if (section := key.split("__")[0]) not in Settings.model_fields:
            raise ConfigError(_unknown((section,), origin))
    source = EnvSettingsSource(Settings, case_sensitive=True, env_prefix="")
    source.env_vars = {key: None if text == "none" else text for key, text in texts.items()}
    try:
        values = source()
    except SettingsError as error:
        raise ConfigError(
            f"{origin}: {error}; a section as a whole is given as a JSON object"
        ) from None
    for section in values.values():
        _read_options(section)
    return Layer(origin, values)


def _read_options(section: Any) -> None:
    options: Any = section.get("options") if isinstance(section, dict) else None
    for key, value in options.items() if isinstance(options, dict) else ():
        try:
            options[key] = json.loads(value)
        except (TypeError, ValueError):
            continue


def _explain_all(error: ValidationError, layers: Sequence[Layer]) -> list[str]:
    return list(dict.fromkeys(_explain(details, layers) for details in error.errors()))


def _explain(error: ErrorDetails, layers: Sequence[Layer]) -> str:
    path = tuple(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ")
    given = repr(error["input"])
    if "options" in path:
        given = "as given"  # it may hold a secret
        if len(path) > path.index("options") + 1:
            path = path[: path.index("options") + 2]
            message = (
                "it must be a truth value, a finite number, a text, a list or a table of these"
            )
    origin = origin_of(".".join(path), layers)
    if error["type"] == "extra_forbidden":
        return _unknown(path, origin)
    return f"setting '{'.'.join(path)}' cannot be {given} ({origin}): {message}"


def _unknown(path: Sequence[str], origin: str) -> str:
    section: type[BaseModel] = Settings
    for part in path[:-1]:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type)
        section = annotation
    names = list(section.model_fields)
    near = difflib.get_close_matches(path[-1], names, n=1)
    prefix = "".join(f"{part}." for part in path[:-1])
    hint = f"did you mean '{prefix}{near[0]}'? " if near else ""
    return (
        f"unknown setting '{'.'.join(path)}' ({origin}); {hint}"
        f"available: {', '.join(prefix + name for name in names)}"
    )
