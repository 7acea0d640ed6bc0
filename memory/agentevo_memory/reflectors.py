"""A reflector without a language model: it copies what explicit errors state.

Environments that answer a wrong action with `error:` and lines that start with `- ` say what they
expect. Each such statement becomes a rule; statements that stopped being made while their task is
solved are left alone. For demos, for tests, and as a baseline that any model must beat.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from agentevo_memory.operations.material import Material
from agentevo_memory.operations.reflect import RuleOperation
from agentevo_memory.record import Record

_STATEMENT = re.compile(r"^\s*-\s+(\S.*\S)\s*$", re.MULTILINE)
_SUGGESTION = re.compile(
    r"(?:unknown|invalid|no such|unrecognized)\s+\w+:?\s+['\"`]?([\w./-]+)['\"`]?\s*[,;:.(]+\s*"
    r"(?:use|try|expected|did you mean|should be)\s+['\"`]?([\w./-]+)",
    re.IGNORECASE,
)
_MAX_WORDS = 30


def reflect_on_errors(material: Material) -> Sequence[RuleOperation]:
    """Return one ADD per statement found in the errors of failures and of retried successes."""
    present = {rule.text for rule in material.rules}
    support: dict[str, list[str]] = {}
    for contrast in material.contrasts:
        for record in (*contrast.failures, *contrast.successes):
            for statement in statements(record):
                support.setdefault(statement, []).append(record.id)
    agreed = [
        RuleOperation(verb="AGREE", rule_id=rule.id)
        for rule in material.rules
        if rule.text in support
    ]
    added = [
        RuleOperation(verb="ADD", text=text, parents=tuple(dict.fromkeys(ids)), key=key_of(text))
        for text, ids in support.items()
        if text not in present
    ]
    return [*added, *agreed]


def statements(experience: Record) -> list[str]:
    """Return what the errors of one experience state, each once, the latest of a matter only."""
    latest: dict[str, str] = {}
    for observation in _errors(experience):
        found = [match.group(1) for match in _STATEMENT.finditer(observation)]
        found += [f"use {good} instead of {bad}" for bad, good in _SUGGESTION.findall(observation)]
        for text in found:
            if 1 < len(text.split()) <= _MAX_WORDS:
                latest[key_of(text)] = text
    return list(latest.values())


def key_of(statement: str) -> str:
    """Return what a statement is about: all but its last word, or what is replaced."""
    words = statement.split()
    if words[:1] == ["use"] and "instead" in words:
        return f"instead of {words[-1]}"
    return " ".join(words[:-1])


def turns_of(experience: Record) -> list[dict[str, Any]]:
    """Return the turns that the body of an experience holds; none if it holds no episode."""
    return list(_body(experience).get("turns", []))


def prompt_of(experience: Record) -> str:
    """Return the task's prompt that the body of an experience holds; else its text."""
    return str(_body(experience).get("prompt", experience.text))


def _body(experience: Record) -> dict[str, Any]:
    try:
        body = json.loads(experience.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _errors(experience: Record) -> list[str]:
    return [
        str(turn.get("observation", ""))
        for turn in turns_of(experience)
        if turn.get("error")
        or str(turn.get("observation", "")).lstrip().lower().startswith("error")
    ]
