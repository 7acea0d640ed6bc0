"""Updating in weight: which rules live in the served adapter, and which are told in the prompt.

A rule that the active adapter holds is `distilled`: it costs no prompt tokens while that adapter is
served. Serving another adapter, or none, brings back the rules that it does not hold.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agentevo.distillation.practice import Setting, Teachable
from agentevo.distillation.registry import AdapterRegistry
from agentevo_environments.environment import Environment
from agentevo_memory import VectorMemory
from agentevo_memory.journal import Selection
from agentevo_memory.record import INSTRUCTING_TRUST
from agentevo_memory.retrieval import count_tokens

VERIFIED_TRUST = 1.0


@dataclass(frozen=True, slots=True)
class Shift:
    """What moved between prompt and weights.

    Attributes:
        into_weights: Rules that are no longer told.
        into_prompt: Rules that are told again.
        tokens_saved: Tokens of all rules that the weights hold now.
    """

    into_weights: tuple[str, ...]
    into_prompt: tuple[str, ...]
    tokens_saved: int


def teachable_rules(
    memory: VectorMemory, namespace: tuple[str, ...] = ()
) -> Mapping[str, Teachable]:
    """Return the rules that may be taught, by id: active or distilled, and verified.

    A rule that an evaluation verified is fully trusted, whatever its lineage; any other is only as
    trusted as its lineage allows.
    """
    chosen = Selection(namespace=namespace, kinds=("rule",), statuses=("active", "distilled"))
    return {
        record.id: Teachable(record.text, VERIFIED_TRUST if record.verified_by else record.trust)
        for record in memory.records(chosen)
        if record.verified_by or record.trust >= INSTRUCTING_TRUST
    }


def setting_of(
    environment: Environment, memory: VectorMemory, namespace: tuple[str, ...] = ()
) -> Setting:
    """Return what distillation has to know of an environment and of a memory."""
    tools = tuple(
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": dict(tool.parameters),
            },
        }
        for tool in environment.tools()
    )
    return Setting(environment.instructions, tools, teachable_rules(memory, namespace))


def serve_adapter(
    memory: VectorMemory, registry: AdapterRegistry, adapter_id: str | None, *, reason: str
) -> Shift:
    """Make an adapter the active one and move its rules between prompt and weights.

    Args:
        memory: Where the rules are.
        registry: Where the adapter is.
        adapter_id: The adapter, or None for the bare base.
        reason: Kept in the registry's history.

    Raises:
        AdapterError: The adapter is unknown or was changed; nothing has moved then.
    """
    registry.activate(adapter_id, reason)
    return reconcile(memory, registry)


def reconcile(memory: VectorMemory, registry: AdapterRegistry) -> Shift:
    """Make the rules' statuses agree with the active adapter; call it whenever a store is opened.

    Memory and registry are two stores, so a kill may come between them; the registry counts.
    """
    adapter_id = registry.active_id
    held = registry.get(adapter_id).manifest.rule_ids if adapter_id else ()
    return hold_rules(memory, held, reason=f"adapter {adapter_id or 'none'} is served")


def hold_rules(memory: VectorMemory, rule_ids: Collection[str], *, reason: str) -> Shift:
    """Let weights hold exactly these of the live rules; every other one is told in the prompt.

    Args:
        memory: Where the rules are.
        rule_ids: What an adapter holds; rules that do not live any more stay as they are.
        reason: Kept in the memory's journal.
    """
    held = set(rule_ids)
    rules = memory.records(Selection(kinds=("rule",), statuses=("active", "distilled")))
    into_weights = tuple(r.id for r in rules if r.id in held and r.status == "active")
    into_prompt = tuple(r.id for r in rules if r.id not in held and r.status == "distilled")
    if into_weights:
        memory.set_status(into_weights, "distilled", reason=reason)
    if into_prompt:
        memory.set_status(into_prompt, "active", reason=reason)
    saved = sum(count_tokens(rule.text) for rule in rules if rule.id in held)
    return Shift(into_weights, into_prompt, saved)
