"""Prompts that an adapter must leave alone, made from practice by giving scopes other names.

The same task in a scope that nothing is known of must be done as the base does it (`scope`); with
rules for that scope in the prompt, the rules must still be followed (`replay`); and when the prompt
gives a known scope the rules of another one, or its own with exchanged values, the prompt must win
(`conflict`). Nothing here knows the environment: a scope is a name that occurs in prompts and rules,
the value of a rule is its last word.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentevo.distillation.dataset import Practice, Probe
from agentevo.distillation.rows import Message, RowKind
from agentevo.errors import AdapterError


@dataclass(frozen=True, slots=True)
class Copies:
    """How many counterfactuals of each kind one episode gives.

    Attributes:
        scope: In scopes that nothing is known of.
        replay: In such scopes, with rules for them.
        conflict: In other known scopes, with the rules of this one.
        exchanged: In its own scope, with rules whose values are exchanged; at most 1.
    """

    scope: int = 4
    replay: int = 1
    conflict: int = 1
    exchanged: int = 1


def counterfactual_probes(
    practice: Sequence[Practice],
    fresh_scopes: Sequence[str],
    *,
    copies: Copies | None = None,
    seed: int = 0,
) -> Iterator[Probe]:
    """Yield probes of all three kinds for each episode of practice.

    Half of the names are mixed from those of the practice, because an adapter tells scopes apart
    only as finely as it has to.

    Args:
        practice: Episodes with rules in their prompts.
        fresh_scopes: Names that no practice and no evaluation uses.
        copies: How many probes of each kind.
        seed: Seed of the choice of names.

    Raises:
        AdapterError: A fresh name is a scope of the practice, or there is none.
    """
    copies, source = copies or Copies(), random.Random(seed)
    scopes = sorted({episode.scope for episode in practice if episode.scope})
    taken = set(scopes) & set(fresh_scopes)
    if taken or not fresh_scopes:
        raise AdapterError(
            f"give scope names that are not in use; in use: {', '.join(sorted(taken)) or 'none given'}"
        )
    near = near_names(scopes, fresh_scopes)

    def fresh() -> str:
        return source.choice(source.choice([near or fresh_scopes, fresh_scopes]))

    for episode in filter(lambda episode: episode.scope, practice):
        others = [scope for scope in scopes if scope != episode.scope]
        bare, told = episode.bare_system, episode.system
        yield from (_probe("scope", episode, fresh(), bare) for _ in range(copies.scope))
        yield from (_probe("replay", episode, fresh(), told) for _ in range(copies.replay))
        for other in source.sample(others, min(copies.conflict, len(others))):
            yield _probe("conflict", episode, other, told)
        if copies.exchanged and (exchanged := exchange_values(episode.rules)):
            yield _probe("conflict", episode, episode.scope, _replaced(told, exchanged))


def near_names(scopes: Sequence[str], fresh_scopes: Sequence[str]) -> list[str]:
    """Return names that share one half with a scope, and are neither a scope nor given as fresh."""
    partners = [*scopes, *fresh_scopes]
    mixed = {
        first[: len(first) // 2] + second[len(second) // 2 :]
        for scope in scopes
        for other in partners
        for first, second in ((scope, other), (other, scope))
    }
    return sorted(mixed - set(partners))


def exchange_values(rules: Sequence[str]) -> Mapping[str, str]:
    """Return rules with the last words of each other, among those that say the same kind of thing.

    Two rules do if the word before the last is the same, as in "In Moki move is zabo" and "In Moki
    send is teka". A rule that is alone in its kind is left out.
    """
    kinds: dict[str, list[list[str]]] = {}
    for rule in rules:
        words = rule.rsplit(maxsplit=2)
        if len(words) == len(("all but two", "kind", "value")):
            kinds.setdefault(words[1], []).append(words)
    return {
        " ".join(words): f"{words[0]} {words[1]} {following[2]}"
        for same in kinds.values()
        for words, following in zip(same, same[1:] + same[:1], strict=True)
        if words != following
    }


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    pattern = "|".join(re.escape(old) for old in replacements)
    return re.sub(rf"(?:{pattern})(?=$|\n)", lambda match: replacements[match[0]], text)


def renamed(messages: Sequence[Message], old: str, new: str) -> tuple[Message, ...]:
    """Return a conversation in which a scope has another name, calls and observations included."""
    return tuple(_renamed(message, old, new) for message in messages)


def rename(text: str, old: str, new: str) -> str:
    """Return a text in which a scope has another name."""
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)


def _probe(kind: RowKind, episode: Practice, scope: str, system: str) -> Probe:
    first = next(
        (i for i, message in enumerate(episode.messages) if message["role"] == "assistant"),
        len(episode.messages),
    )
    return Probe(
        kind=kind,
        scope=scope,
        system=rename(system, episode.scope, scope),
        messages=renamed(episode.messages[:first], episode.scope, scope),
        tools=episode.tools,
    )


def _renamed(message: Message, old: str, new: str) -> Message:
    changed = {**message, "content": rename(str(message.get("content") or ""), old, new)}
    if message.get("tool_calls"):
        changed["tool_calls"] = [_renamed_call(call, old, new) for call in message["tool_calls"]]
    return changed


def _renamed_call(call: Mapping[str, Any], old: str, new: str) -> Mapping[str, Any]:
    function = call["function"]
    return {**call, "function": {**function, "arguments": rename(function["arguments"], old, new)}}
