"""Serving a generation that the gate accepted, or noting that it was refused; safe to do again."""

from collections.abc import Mapping
from typing import Any

from agentevo.gate import Verdict
from agentevo.generations import Generation
from agentevo.graph.context import EvolutionContext
from agentevo_memory.branch import BranchError


def settle(
    candidate: Generation,
    branch: str,
    verdict: Verdict,
    context: EvolutionContext,
    evidence: Mapping[str, Any],
) -> str:
    """Log a candidate with its evidence, and serve it if it was accepted.

    Returns:
        "accepted" or "refused"; an accepted candidate is refused if somebody else changed the
        served memory meanwhile.
    """
    if candidate.id != context.log.served_id:
        model = context.agent.settings.model.spec
        known = {
            "evolution": context.id,
            "model": model,
            "verdict": verdict.to_json(),
            **evidence,
        }
        context.log.create(candidate, parent=context.log.served_id, evidence=known)
    conflict = _serve(candidate, branch, verdict, context) if verdict.accepted else ""
    if verdict.accepted and not conflict:
        return "accepted"
    _refuse(candidate, {**verdict.to_json(), "conflict": conflict}, context)
    return "refused"


def _serve(candidate: Generation, branch: str, verdict: Verdict, context: EvolutionContext) -> str:
    """Serve adapter and memory of a candidate; returns why not if that is impossible.

    The adapter comes first: between the two, rules are told that the weights hold already, which
    does no harm, and a kill there is made good when the round is judged again.
    """
    reason = f"accepted by {context.id}"
    before = context.served_adapter
    context.serve_adapter(candidate.adapter_id, reason)
    try:
        context.line.adopt(branch)
    except BranchError as error:
        context.serve_adapter(before, f"memory of {candidate.id} could not be served")
        return str(error)
    if context.log.served_id != candidate.id:
        context.log.serve(candidate.id, reason=reason, verdict=verdict.to_json())
    return ""


def _refuse(candidate: Generation, verdict: Mapping[str, Any], context: EvolutionContext) -> None:
    refused = {entry.generation_id for entry in context.log.entries("refused")}
    if candidate.id not in refused and candidate.id != context.log.served_id:
        context.log.refuse(candidate.id, verdict)
