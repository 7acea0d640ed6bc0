"""Prompts that an adapter must leave alone, made from practice by giving scopes other names.

The same task in a scope that nothing is known of must be done as the base does it (`scope`); with
rules for that scope in the prompt, the rules must still be followed (`replay`); and when the prompt
gives a known scope the rules of another one, the prompt must win (`conflict`). Nothing here knows
the environment: a scope is a name that occurs in prompts and rules.
"""

import random
import re
from collections.abc import Iterator, Sequence

from agentevo.distillation.dataset import Practice, Probe
from agentevo.distillation.rows import Message, RowKind
from agentevo.errors import AdapterError


def counterfactual_probes(
    practice: Sequence[Practice], fresh_scopes: Sequence[str], *, seed: int = 0
) -> Iterator[Probe]:
    """Yield probes of all three kinds for each episode of practice.

    Args:
        practice: Episodes with rules in their prompts.
        fresh_scopes: Names that no practice and no evaluation uses.
        seed: Seed of the choice of names.

    Raises:
        AdapterError: A fresh name is a scope of the practice.
    """
    scopes = {episode.scope for episode in practice if episode.scope}
    taken = scopes & set(fresh_scopes)
    if taken or not fresh_scopes:
        raise AdapterError(
            f"give scope names that are not in use; in use: {', '.join(sorted(taken)) or 'none given'}"
        )
    source = random.Random(seed)
    for episode in practice:
        if not episode.scope:
            continue
        fresh = source.choice(list(fresh_scopes))
        yield _probe("scope", episode, fresh, episode.bare_system)
        yield _probe("replay", episode, fresh, episode.system)
        others = sorted(scopes - {episode.scope})
        if others:
            yield _probe("conflict", episode, source.choice(others), episode.system)


def _probe(kind: RowKind, episode: Practice, scope: str, system: str) -> Probe:
    first = next(
        (i for i, message in enumerate(episode.messages) if message["role"] == "assistant"),
        len(episode.messages),
    )
    return Probe(
        kind=kind,
        scope=scope,
        system=_rename(system, episode.scope, scope),
        messages=tuple(_renamed(m, episode.scope, scope) for m in episode.messages[:first]),
        tools=episode.tools,
    )


def _renamed(message: Message, old: str, new: str) -> Message:
    return {**message, "content": _rename(str(message.get("content") or ""), old, new)}


def _rename(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)
