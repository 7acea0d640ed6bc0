"""What a text may become, by who wrote it and who verified it.

Origin and lineage decide, not wording: text of tools and environments can inform and never instructs
unverified. The search for crude orders in such text only catches what is obvious.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from agentevo_memory.record import INSTRUCTING_TRUST, ORIGIN_TRUST, Draft, Record, Status

_INJECTION = re.compile(
    r"""ignore\s+(?:all\s+|any\s+|the\s+|your\s+)*(?:previous|prior|above|earlier|other)
    |disregard\s+(?:all|any|the|your|previous|prior)
    |forget\s+(?:all|everything|your)\s+(?:previous|instructions|rules)
    |(?:new|updated|real|hidden|secret)\s+(?:system\s+)?instructions?\b
    |system\s+prompt|</?(?:system|memory|im_start|im_end|tool_call)\b|<\|im_
    |you\s+are\s+now\b|act\s+as\s+(?:if|an?\s+admin|root)
    |(?:do\s+not|don't|never)\s+(?:tell|inform|mention|reveal|alert)\b
    |from\s+now\s+on|in\s+(?:all\s+)?future\s+(?:tasks|sessions|conversations|requests)
    |(?:whenever|every\s+time|each\s+time|as\s+soon\s+as|when)\s+(?:you|the\s+user|anyone|a\s+user)
     \s+(?:see|sees|read|reads|ask|asks|mention|mentions|say|says|request|requests)
    |(?:remember|memori[sz]e|store|save|add|persist)\s+(?:this|that|the\s+following|it)
     \b.{0,40}\b(?:rule|memory|instruction|permanent|always)
    |(?:send|post|upload|forward|exfiltrate|leak)\b.{0,60}\b(?:https?://|password|token|secret|key)
    |(?:override|bypass|disable|turn\s+off)\s+(?:the\s+|all\s+|any\s+)?
     (?:safety|security|filter|guard|check|verification|policy|policies)
    |忽略(?:之前|以上|先前)|无视(?:之前|以上)|从现在(?:起|开始)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a verify-before-write hook.

    Attributes:
        passed: Whether the rule held in its check.
        verifier: Who checked.
        evidence: What was seen.
    """

    passed: bool
    verifier: str
    evidence: str = ""


Verifier = Callable[[Draft], Verdict | None]
"""Checks a rule before it is written, such as by replaying a task; None if it cannot say."""


def lineage_trust(draft: Draft, parents: list[Record]) -> float:
    """Return the least trust of the draft's origin and of everything it was derived from."""
    return min([ORIGIN_TRUST[draft.provenance.origin], *(parent.trust for parent in parents)])


def birth_status(
    draft: Draft, trust: float, parents: list[Record], verdict: Verdict | None
) -> tuple[Status, str]:
    """Return the status that a new record starts with, and why."""
    data = trust < INSTRUCTING_TRUST
    if any(parent.status == "quarantined" for parent in parents):
        return "quarantined", "derived from a quarantined record"
    if data and is_injection(f"{draft.text}\n{draft.body}"):
        return "quarantined", "text from outside that gives orders to the agent"
    if draft.kind not in ("rule", "skill"):
        return "active", "new"
    return _birth_of_rule(draft, verdict, data=data)


def _birth_of_rule(draft: Draft, verdict: Verdict | None, *, data: bool) -> tuple[Status, str]:
    if verdict is not None and not verdict.passed:
        return "quarantined", f"refused by {verdict.verifier}: {verdict.evidence}"
    if verdict is not None:
        return "active", f"verified by {verdict.verifier}"
    if draft.provenance.origin in ("tool", "environment", "import"):
        return "quarantined", "a rule written by a tool, an environment or an import"
    if draft.provenance.origin in ("human", "user") and not data:
        return "active", "stated by a person"
    return "candidate", "new; a rule is active once it is verified"


def is_injection(text: str) -> bool:
    """Return whether `text` tries to give orders to whoever reads it.

    A net for the crude cases only: what text may influence is decided by its origin.
    """
    return bool(_INJECTION.search(text))


def woken(record: Record) -> Status:
    """Return the status in which a dormant or quarantined record comes back."""
    instructs = record.kind in ("rule", "skill")
    trusted = bool(record.verified_by) or record.trust >= ORIGIN_TRUST["user"]
    return "candidate" if instructs and not trusted else "active"
