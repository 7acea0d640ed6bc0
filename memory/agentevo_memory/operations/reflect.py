"""reflect: experiences become rules, by whatever can read them.

The memory groups experiences by task, successes beside failures, and hands them with the present rules
to a reflector: any callable, such as a language model behind a prompt. What the reflector proposes is
carried out as one transaction, once per set of experiences; new rules stay candidates until verified.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from agentevo_memory.acceptance import check_choice
from agentevo_memory.errors import RecordError
from agentevo_memory.journal import Journal, hash_key
from agentevo_memory.operations.insert import InsertResult, insert
from agentevo_memory.operations.material import Material, Scope, experience_ids
from agentevo_memory.operations.offer import Offer
from agentevo_memory.record import Draft, Provenance, Record
from agentevo_memory.retention import reinforced, weakened
from agentevo_memory.transaction import Transaction

Verb = Literal["ADD", "EDIT", "AGREE", "REMOVE"]
FIRST_VOTES = 2
"""Votes of a new rule; AGREE and EDIT add one, REMOVE takes one, and a rule without votes goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOperation:
    """What a reflector proposes.

    Attributes:
        verb: ADD a rule, EDIT one, AGREE with one, or REMOVE one.
        text: The rule, for ADD and EDIT.
        rule_id: The rule, for EDIT, AGREE and REMOVE.
        parents: Ids of the experiences that support it; empty means all of the material.
        key: What an added rule is about, so that a later one on the same matter supersedes it.
    """

    verb: Verb
    text: str = ""
    rule_id: str = ""
    parents: tuple[str, ...] = ()
    key: str = ""

    def __post_init__(self) -> None:
        check_choice("verb", self.verb, get_args(Verb))
        if self.verb in ("ADD", "EDIT") and not self.text.strip():
            raise RecordError(f"{self.verb} needs the text of a rule")
        if self.verb != "ADD" and not self.rule_id:
            raise RecordError(f"{self.verb} needs the id of a rule")


Reflector = Callable[[Material], Sequence[RuleOperation]]
"""Proposes operations; it must not change the memory itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one proposal.

    Attributes:
        proposal: What the reflector said.
        action: What the memory did.
        rule_id: The rule concerned; "" in a dry run of ADD.
        before, after: The rule's text.
    """

    proposal: RuleOperation
    action: str
    rule_id: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Reflection:
    """What a reflection did, or would do.

    Attributes:
        steps: One per proposal.
        experiences: Ids of the experiences read.
        repeated: Whether this very set had been reflected on before; then nothing was done.
        operation: Number for `undo`; 0 if nothing was written.
    """

    steps: tuple[Step, ...]
    experiences: tuple[str, ...]
    repeated: bool = False
    operation: int = 0

    def diff(self) -> str:
        """Return the change of the rules as lines that start with `+`, `-` or `=`."""
        lines = []
        for step in self.steps:
            if step.before and step.before != step.after:
                lines.append(f"- {step.before}")
            if step.after:
                lines.append(f"{'=' if step.before == step.after else '+'} {step.after}")
        return "\n".join(lines)


@dataclass(slots=True)
class Context:
    """What carrying out proposals needs besides the journal."""

    scope: Scope
    material: Material
    prepare: Callable[[Draft], Offer]
    reflector_id: str
    offers: dict[int, Offer] = field(default_factory=dict)


def input_key(material: Material, scope: Scope, reflector_id: str) -> str:
    """Return the idempotency key of a reflection: the set of experiences and the reflector."""
    text = "\0".join([*sorted(experience_ids(material)), *scope.namespace, reflector_id])
    return "reflect:" + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def drafts(proposals: Sequence[RuleOperation], context: Context) -> None:
    """Prepare the offers of all proposals that write a rule, before the transaction."""
    known = {record.id: record for record in context.material.rules}
    for index, proposal in enumerate(proposals):
        if proposal.verb != "ADD" and proposal.rule_id not in known:
            raise RecordError(
                f"{proposal.verb} names the rule {proposal.rule_id!r}, which was not in the "
                f"material; allowed: {sorted(known)}"
            )
        if proposal.verb in ("ADD", "EDIT"):
            context.offers[index] = context.prepare(_draft(proposal, context, known))


def carry_out(
    journal: Journal, tx: Transaction, proposals: Sequence[RuleOperation], context: Context
) -> tuple[Step, ...]:
    """Carry out all proposals inside a running transaction."""
    steps = []
    for index, proposal in enumerate(proposals):
        if proposal.verb in ("ADD", "EDIT"):
            steps.append(_write(journal, tx, proposal, context.offers[index]))
        else:
            steps.append(_vote(journal, tx, proposal))
    key = input_key(context.material, context.scope, context.reflector_id)
    tx.remember(hash_key(key), [step.rule_id for step in steps])
    return tuple(steps)


def preview(proposals: Sequence[RuleOperation], material: Material) -> tuple[Step, ...]:
    """Return what proposals would do, without doing it."""
    texts = {rule.id: rule.text for rule in material.rules}
    steps = []
    for proposal in proposals:
        before = texts.get(proposal.rule_id, "")
        after = {"AGREE": before, "REMOVE": ""}.get(proposal.verb, proposal.text)
        steps.append(Step(proposal, "dry run", proposal.rule_id, before, after))
    return tuple(steps)


def _draft(proposal: RuleOperation, context: Context, known: dict[str, Record]) -> Draft:
    by_id = {
        record.id: record
        for contrast in context.material.contrasts
        for record in (*contrast.successes, *contrast.failures)
    }
    foreign = set(proposal.parents) - by_id.keys()
    if foreign:
        raise RecordError(f"parents {sorted(foreign)} were not in the material")
    parents = proposal.parents or tuple(by_id)
    sources = [by_id[parent] for parent in parents]
    if proposal.rule_id:
        parents = (*parents, proposal.rule_id)
        sources = [*sources, known[proposal.rule_id]]
    environments = {record.environment for record in sources}
    scopes = {record.scope for record in sources}
    return Draft(
        text=proposal.text,
        kind="rule",
        namespace=context.scope.namespace,
        key=proposal.key,
        environment=environments.pop() if len(environments) == 1 else "",
        scope=scopes.pop() if len(scopes) == 1 else "",
        data={"votes": FIRST_VOTES},
        provenance=Provenance(
            origin="model",
            source=context.reflector_id,
            run_id=context.scope.run_id,
            parents=parents,
        ),
    )


def _write(journal: Journal, tx: Transaction, proposal: RuleOperation, offer: Offer) -> Step:
    before = journal.get(proposal.rule_id).text if proposal.rule_id else ""
    result: InsertResult = insert(journal, tx, offer)
    if result.action == "reinforced":
        _set_votes(tx, journal.get(result.id), 1, "agreed with by reflection")
    return Step(proposal, result.action, result.id, before, journal.get(result.id).text)


def _vote(journal: Journal, tx: Transaction, proposal: RuleOperation) -> Step:
    rule = journal.get(proposal.rule_id)
    if proposal.verb == "AGREE":
        _set_votes(tx, rule, 1, "agreed with by reflection")
        return Step(proposal, "reinforced", rule.id, rule.text, rule.text)
    left = _set_votes(tx, rule, -1, "rejected by reflection")
    after = rule.text if left > 0 else ""
    return Step(proposal, "weakened" if left > 0 else "dormant", rule.id, rule.text, after)


def _set_votes(tx: Transaction, rule: Record, change: int, reason: str) -> int:
    votes = int(rule.data.get("votes", FIRST_VOTES)) + change
    gone = votes <= 0 and not rule.pinned
    tx.change(
        rule,
        reason,
        data={**rule.data, "votes": votes},
        strength=reinforced(rule, tx.now) if change > 0 else weakened(rule),
        status="dormant" if gone else rule.status,
    )
    return 0 if gone else max(1, votes)
