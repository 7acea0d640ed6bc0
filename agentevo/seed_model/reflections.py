"""Answers to a reflection: `{"rules": [...]}`."""

import json


def parse_rules(text: str) -> list[str] | None:
    """Return the rules of an answer, None when it is not of the form."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    rules = found.get("rules") if isinstance(found, dict) else None
    if not isinstance(rules, list) or not all(isinstance(rule, str) for rule in rules):
        return None
    return rules
