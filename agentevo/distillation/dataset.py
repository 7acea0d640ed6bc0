"""From memory and run records to training rows, each with its lineage, nothing unverified.

Target rows come from what an agent did and the environment verified; the rules that were in its
prompt move to the teacher. What must not change is asked of the base itself: the same tasks under
other scopes, other skills, prompts whose rules contradict what is distilled.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from agentevo.distillation.actions import action_of
from agentevo.distillation.decontamination import Decontaminator
from agentevo.distillation.rows import Lineage, Message, Row, RowKind
from agentevo.errors import AdapterError

Tools = tuple[Mapping[str, Any], ...]
Answer = Callable[[str, Sequence[Message], Tools], Message]
"""The frozen base: system prompt, conversation and tools in, its next assistant message out.
Called from several threads."""

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Practice:
    """An episode that was run with memory, as distillation sees it.

    Attributes:
        run_id: The run.
        episode_id: The episode.
        scope: Scope of the task.
        prompt: The task as the agent read it.
        system: The system prompt with those of its rules that may be taught, and nothing else.
        bare_system: The same without anything from memory.
        rule_ids: The verified rules that were in it.
        trust: Minimum over those rules, from 0 to 1.
        messages: The conversation after the system prompt.
        solved: The environment's verdict.
        errors: Observations that were errors.
        tools: The tools that the prompt declared, in the OpenAI form.
        told_more: Whether the prompt held more than `system`: notes, or rules that were not
            verified or are forgotten by now.
        rules: The texts of `rule_ids`, as they stand in `system`.
    """

    run_id: str
    episode_id: str
    scope: str
    prompt: str
    system: str
    bare_system: str
    rule_ids: tuple[str, ...]
    trust: float
    messages: tuple[Message, ...]
    solved: bool
    errors: int = 0
    tools: Tools = ()
    told_more: bool = False
    rules: tuple[str, ...] = ()

    @property
    def lineage(self) -> Lineage:
        """Where rows made of this episode come from."""
        return Lineage(self.rule_ids, self.run_id, self.episode_id, self.trust, self.solved)


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt that the adapter must leave as the base answers it.

    Attributes:
        kind: `scope`, `conflict` or `replay`.
        scope: Scope of the task.
        system: The whole system prompt, rules included.
        messages: The conversation up to the answer, or one that the base itself has led.
        tools: The tools that the prompt declares.
    """

    kind: RowKind
    scope: str
    system: str
    messages: tuple[Message, ...]
    tools: Tools = ()


@dataclass(frozen=True, slots=True)
class DatasetSettings:
    """What may become a row.

    Attributes:
        minimum_trust: Lowest trust of the rules behind an episode, from 0 to 1.
        real_share: Lowest share of rows of real episodes among target rows.
        clean_only: Whether episodes with an error observation are left out.
        repeats: Most rows per distinct task prompt.
    """

    minimum_trust: float = 0.5
    real_share: float = 0.5
    clean_only: bool = True
    repeats: int = 1


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows to train on, and what was left out and why.

    Attributes:
        rows: The rows, in a fixed order.
        left_out: Reason to number of episodes or rows.
        rule_ids: The rules that the rows teach.
    """

    rows: tuple[Row, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    rule_ids: tuple[str, ...] = ()

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each kind."""
        return dict(Counter(row.kind for row in self.rows))

    def record_ids(self) -> tuple[str, ...]:
        """Return every memory record that some row descends from, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.lineage.record_ids}))


def build_dataset(
    practice: Iterable[Practice],
    probes: Iterable[Probe],
    answer: Answer,
    *,
    settings: DatasetSettings | None = None,
    evaluation: Decontaminator | None = None,
) -> Dataset:
    """Make the rows of one training.

    Args:
        practice: Episodes run with memory.
        probes: Prompts to keep as they are; the base answers them here.
        answer: The frozen base.
        settings: What may become a row.
        evaluation: Evaluation items that must not leak.

    Raises:
        AdapterError: No verified episode with rules is left, or too few rows are real.
    """
    settings = settings or DatasetSettings()
    left_out: Counter[str] = Counter()
    accepted, failed = _choose(practice, settings, evaluation, left_out)
    accepted = _without_the_untaught(accepted, answer, left_out)
    rows = [row for episode in accepted for row in _practice_rows(episode)]
    rows += _rejected_rows(accepted, failed)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        rows += pool.map(lambda probe: _probe_row(probe, answer), probes)
    unique = {row.id: row for row in reversed(rows)}
    left_out["duplicate row"] += len(rows) - len(unique)
    kept = tuple(reversed(unique.values()))
    _check_real_share(kept, settings)
    rules = tuple(sorted({name for episode in accepted for name in episode.rule_ids}))
    return Dataset(kept, {reason: n for reason, n in left_out.items() if n}, rules)


def _choose(
    practice: Iterable[Practice],
    settings: DatasetSettings,
    evaluation: Decontaminator | None,
    left_out: Counter[str],
) -> tuple[list[Practice], list[Practice]]:
    """Return the episodes to learn from and the failed ones, counting the rest by reason."""
    accepted: list[Practice] = []
    failed: list[Practice] = []
    seen: Counter[tuple[str, str]] = Counter()
    for episode in practice:
        reason = _objection(episode, settings, evaluation)
        key = (episode.scope, episode.prompt)
        if reason is None and seen[key] >= settings.repeats:
            reason = "same task as an earlier episode"
        if reason is None:
            seen[key] += 1
            accepted.append(episode)
            continue
        if reason == "not solved":
            failed.append(episode)
        left_out[reason] += 1
    return accepted, failed


def _without_the_untaught(
    accepted: Sequence[Practice], answer: Answer, left_out: Counter[str]
) -> list[Practice]:
    """Return the episodes that the base does the same with nothing but teachable rules.

    Raises:
        AdapterError: No episode is left.
    """
    kept = [episode for episode in accepted if not episode.told_more or _does(answer, episode)]
    left_out["needs what may not be taught"] += len(accepted) - len(kept)
    if not kept:
        reasons = ", ".join(f"{reason} ({n})" for reason, n in left_out.items() if n)
        raise AdapterError(
            "there is nothing to distil: no verified experience with trusted rules "
            f"({reasons or 'no episodes'}). Run tasks with memory first"
        )
    return kept


def _does(answer: Answer, episode: Practice) -> bool:
    """Return whether the base acts as in the episode when only its teachable rules are told."""
    return all(
        action_of(answer(episode.system, episode.messages[:i], episode.tools)) == action_of(message)
        for i, message in enumerate(episode.messages)
        if message["role"] == "assistant"
    )


def _objection(
    episode: Practice, settings: DatasetSettings, evaluation: Decontaminator | None
) -> str | None:
    if not episode.rule_ids:
        return "no rules in the prompt"
    if episode.trust < settings.minimum_trust:
        return "rules not trusted enough"
    leak = evaluation.leak_in(episode.prompt) if evaluation else None
    if leak:
        return f"holds {leak.partition(' (')[0]}"
    if not episode.solved:
        return "not solved"
    if settings.clean_only and episode.errors:
        return "solved only after errors"
    return None


def _practice_rows(episode: Practice) -> list[Row]:
    target = Row(
        "target",
        episode.scope,
        episode.system,
        episode.bare_system,
        episode.messages,
        episode.lineage,
        episode.tools,
    )
    return [target, replace(target, kind="with_rules", student_system=episode.system)]


def _rejected_rows(accepted: Sequence[Practice], failed: Sequence[Practice]) -> list[Row]:
    """Pair failed attempts with the verified one at the same task."""
    verified = {(e.scope, e.prompt): _practice_rows(e)[0] for e in accepted}
    rows = []
    for episode in failed:
        target = verified.get((episode.scope, episode.prompt))
        if target is not None and any(m["role"] == "assistant" for m in episode.messages):
            row = _practice_rows(episode)[0]
            rows.append(replace(row, kind="rejected", pair=target.id))
    return rows


def _probe_row(probe: Probe, answer: Answer) -> Row:
    messages, led = probe.messages, any(m["role"] == "assistant" for m in probe.messages)
    if not led:
        messages = (*messages, answer(probe.system, messages, probe.tools))
    lineage = Lineage(verified=True, real=led)
    return Row(probe.kind, probe.scope, probe.system, probe.system, messages, lineage, probe.tools)


def _check_real_share(rows: Sequence[Row], settings: DatasetSettings) -> None:
    targets = [row for row in rows if row.kind == "target"]
    share = sum(row.lineage.real for row in targets) / len(targets)
    if share < settings.real_share:
        raise AdapterError(
            f"only {share:.0%} of the target rows are real episodes; at least "
            f"{settings.real_share:.0%} must be. Run more tasks"
        )


def describe(dataset: Dataset, samples: int = 2) -> dict[str, Any]:
    """Return the dataset as plain data for `agentevo distill plan`: counts, reasons, samples."""
    shown: dict[str, list[str]] = {}
    for row in dataset.rows:
        if len(shown.setdefault(row.kind, [])) < samples:
            shown[row.kind].append(row.text())
    return {
        "rows": dataset.counts(),
        "rules": list(dataset.rule_ids),
        "left_out": dict(dataset.left_out),
        "samples": shown,
    }
