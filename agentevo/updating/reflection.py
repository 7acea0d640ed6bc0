"""Reflecting on experiences: rules that are verified by doing their cases again, lessons in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agentevo.prompts import REFLECTION_INSTRUCTIONS, render_reflection
from agentevo.recall import Turn
from agentevo.seed_model.reflections import parse_rules
from agentevo.stages import Experience, Round, UpdateReceipt
from agentevo.updating.in_context import InContextMemory, clean
from agentevo.updating.trial import Replay, Trial, try_rules
from agentevo_memory import Draft, Provenance
from agentevo_memory.journal import Selection
from agentevo_memory.operations.material import Material, Scope
from agentevo_memory.operations.reflect import Reflector, RuleOperation
from agentevo_memory.operations.screening import Verdict
from agentevo_memory.record import Record
from agentevo_memory.reflectors import key_of, prompt_of, turns_of

REPLAY = "replay"
"""Name of the verifier that does the case of a rule again."""


class Ask(Protocol):
    """A language model outside any environment."""

    def __call__(self, prompt: str, *, system: str = "") -> str:
        """Return the answer to a prompt."""
        ...


@dataclass(frozen=True, slots=True)
class ModelReflector:
    """Lets a model turn the errors of each task's attempts into rules.

    Attributes:
        ask: The model. Answers that are not of the form `{"rules": [...]}` give no rule.
    """

    ask: Ask

    def __call__(self, material: Material) -> Sequence[RuleOperation]:
        """Return one ADD per new rule and one AGREE per rule that was found again."""
        present = {rule.text: rule.id for rule in material.rules}
        support: dict[str, list[str]] = {}
        for contrast in material.contrasts:
            for record in (*contrast.failures, *contrast.successes):
                turns = [Turn(**turn) for turn in turns_of(record)]
                if any(turn.error for turn in turns):
                    for text in self._rules(record, turns):
                        support.setdefault(text, []).append(record.id)
        added = [
            RuleOperation(
                verb="ADD", text=text, parents=tuple(dict.fromkeys(ids)), key=key_of(text)
            )
            for text, ids in support.items()
            if text not in present
        ]
        agreed = [RuleOperation(verb="AGREE", rule_id=present[t]) for t in support if t in present]
        return [*added, *agreed]

    def _rules(self, record: Record, turns: Sequence[Turn]) -> list[str]:
        question = render_reflection(prompt_of(record), turns)
        rules = parse_rules(self.ask(question, system=REFLECTION_INSTRUCTIONS)) or []
        return [" ".join(clean(rule).split()) for rule in rules if rule.strip()]


@dataclass(slots=True)
class ReflectRules:
    """Turns failures into rules, and lets a rule instruct once its case went better with it.

    A rule whose case got worse is quarantined. One that made no difference stays a candidate, which
    informs and does not instruct; it never replaces a rule that instructs.

    Attributes:
        memory: The candidate memory.
        environment: Name of the environment.
        reflector: Reads experiences and proposes rules.
        reflector_id: Its name and version.
        replay: Does cases again; None leaves new rules unverified.
        resolve: Whether a rule replaces an older one on the same matter.
    """

    memory: InContextMemory
    environment: str
    reflector: Reflector
    reflector_id: str
    replay: Replay | None = None
    resolve: bool = True
    _verdicts: dict[str, Verdict] = field(default_factory=dict, init=False)

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Reflect on what the memory holds of the experiences' environment."""
        del now
        store = self.memory.store
        scope = Scope(namespace=self.memory.namespace, environment=self.environment)
        preview = store.reflect(self.reflector, scope, dry_run=True)
        proposals = [self._keyed(step.proposal) for step in preview.steps]
        candidates = self._candidates()
        verified = self._verify(proposals, candidates, experiences) if self.replay else {}
        self._verdicts = verified
        chosen = [entry for entry in proposals if not self._usurps(entry)]
        done = store.reflect(
            lambda material: chosen,
            scope,
            reflector_id=self.reflector_id,
            verify=lambda draft: self._verdicts.get(draft.text),
        )
        promoted = self._promote(candidates, verified)
        added = [step for step in done.steps if step.proposal.verb == "ADD"]
        passed = {text for text, verdict in verified.items() if verdict.passed}
        counts = {
            "rules": len(added),
            "verified": sum(s.proposal.text in passed for s in added) + len(promoted),
            "refused": sum(s.action == "quarantined" for s in added),
        }
        return UpdateReceipt(counts, tuple(step.rule_id for step in done.steps) + promoted)

    def _keyed(self, proposal: RuleOperation) -> RuleOperation:
        if self.resolve or not proposal.key:
            return proposal
        return RuleOperation(verb=proposal.verb, text=proposal.text, parents=proposal.parents)

    def _candidates(self) -> list[Record]:
        chosen = Selection(
            namespace=self.memory.namespace, kinds=("rule",), statuses=("candidate",)
        )
        rules = self.memory.store.records(chosen)
        return [rule for rule in rules if rule.environment == self.environment]

    def _verify(
        self,
        proposals: Sequence[RuleOperation],
        candidates: Sequence[Record],
        experiences: Sequence[Experience],
    ) -> dict[str, Verdict]:
        """Return a verdict for every text on trial whose cases became better or worse."""
        assert self.replay is not None
        cases = {entry.text: self._cases(entry.parents) for entry in proposals if entry.text}
        cases |= {rule.text: self._cases(rule.provenance.parents) for rule in candidates}
        rules: dict[str, tuple[str, ...]] = {}
        for text, found in cases.items():
            for scope in {record.scope for record in found}:
                rules[scope] = (*rules.get(scope, ()), text)
        trials = try_rules(experiences, self.memory, rules, self.replay)
        verdicts = {}
        for text, found in cases.items():
            seen = [trials[r.task_id] for r in found if r.task_id in trials]
            if (verdict := _judge(seen)) is not None:
                verdicts[text] = verdict
        return verdicts

    def _cases(self, parents: Sequence[str]) -> list[Record]:
        records = [self.memory.store.get(parent) for parent in parents]
        return [record for record in records if record.kind == "experience"]

    def _usurps(self, proposal: RuleOperation) -> bool:
        """Whether an unverified rule would replace one that instructs."""
        verdict = self._verdicts.get(proposal.text)
        if not proposal.key or (verdict is not None and verdict.passed):
            return False
        same = Selection(
            namespace=self.memory.namespace, kinds=("rule",), key=proposal.key, statuses=("active",)
        )
        scopes = {record.scope for record in self._cases(proposal.parents)}
        return any(
            rule.may_instruct and rule.scope in scopes for rule in self.memory.store.records(same)
        )

    def _promote(
        self, candidates: Sequence[Record], verified: Mapping[str, Verdict]
    ) -> tuple[str, ...]:
        promoted = []
        for rule in candidates:
            verdict = verified.get(rule.text)
            present = self.memory.store.get(rule.id)
            if verdict is not None and verdict.passed and present.status == "candidate":
                self.memory.store.promote(rule.id, verifier=REPLAY, evidence=verdict.evidence)
                promoted.append(rule.id)
        return tuple(promoted)


def _judge(trials: Sequence[Trial]) -> Verdict | None:
    helped = [trial for trial in trials if trial.helped]
    hurt = [trial for trial in trials if trial.hurt]
    if helped and not hurt:
        return Verdict(True, REPLAY, helped[0].evidence)
    if hurt and not helped:
        return Verdict(False, REPLAY, hurt[0].evidence)
    return None


@dataclass(frozen=True, slots=True)
class ReflectVerbally:
    """Keeps a lesson in the model's words about every failure (Reflexion, Shinn et al. 2023).

    Lessons inform; they never instruct.

    Attributes:
        memory: The candidate memory.
        ask: The model.
    """

    memory: InContextMemory
    ask: Ask

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Write one lesson per failed attempt, once."""
        del now
        ids = []
        for entry in experiences:
            failed = entry.rejected if entry.solved else entry.solution
            if failed is None or failed.outcome is None or failed.outcome.solved:
                continue
            outcome = failed.outcome
            answer = self.ask(
                f"{render_reflection(entry.task.prompt, outcome.turns)}\n"
                "Instead of JSON, write one sentence: what to do differently next time."
            )
            if not (text := " ".join(clean(answer).split())):
                continue
            draft = Draft(
                text=text,
                kind="summary",
                namespace=self.memory.namespace,
                environment=outcome.environment,
                scope=outcome.scope,
                task_id=outcome.task_id,
                provenance=Provenance(origin="model", source="lesson"),
            )
            key = f"lesson:{outcome.episode_id}"
            ids.append(self.memory.store.insert(draft, idempotency_key=key).id)
        return UpdateReceipt({"lessons": len(ids)}, tuple(ids))
