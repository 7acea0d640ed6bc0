"""Updating in context: the episode graph's `Memory` port over a `VectorMemory`.

Recall offers rules of the task's scope first, then general ones, then similar experiences. Only what
may instruct is marked trusted. An outcome becomes an experience and credits or blames what was in the
prompt; every step is idempotent by the episode id, so that a resumed run repeats nothing.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from agentevo.recall import Outcome, Recalled, Turn
from agentevo_memory import Draft, Feedback, Hit, Provenance, Query, VectorMemory
from agentevo_memory.record import GIST_CHARS, RECALLABLE, Record, Status
from agentevo_memory.record import Outcome as Verdict
from agentevo_memory.retrieval import count_tokens

if TYPE_CHECKING:
    from agentevo_memory.embedding.base import Embedder

MAX_EXPERIENCES = 2
ALL_NOTES = 100
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def open_memory(  # noqa: PLR0913 (each is an option that users set by name)
    path: str | Path,
    namespace: str | tuple[str, ...] = "default",
    *,
    k: int = 8,
    notes: int = ALL_NOTES,
    embedder: "Embedder | str" = "minilm-int8",
    on_trial: bool = False,
) -> "InContextMemory":
    """Return the memory in folder `path` as the episode graph uses it.

    Args:
        path: The store; created if missing.
        namespace: The part of it that is read and written.
        k: Most records in one prompt.
        notes: Most of them that only inform.
        embedder: An embedder or the name of a built-in one.
        on_trial: Let candidate rules instruct, as a replay that is to verify them needs it.
    """
    labels = (namespace,) if isinstance(namespace, str) else namespace
    store = VectorMemory(path, embedder=embedder)
    return InContextMemory(store, labels, k=k, notes=notes, on_trial=on_trial)


class InContextMemory:
    """One namespace of a `VectorMemory` behind the port of `agentevo.recall`.

    Attributes:
        store: The memory itself.
        namespace: The part of it that is read and written.
    """

    def __init__(
        self,
        store: VectorMemory,
        namespace: tuple[str, ...],
        *,
        k: int = 8,
        notes: int = ALL_NOTES,
        on_trial: bool = False,
    ) -> None:
        self.store = store
        self.namespace = namespace
        self._k = k
        self._notes = notes
        self._on_trial = on_trial

    def recall(
        self, query: str, *, environment: str, scope: str, budget_tokens: int
    ) -> Sequence[Recalled]:
        """Return rules of the scope, general rules, and similar experiences, within the budget."""
        text = clean(query)
        if not text.strip():
            return ()
        places = dict.fromkeys([(environment, scope), (environment, ""), ("", "")])
        hits: list[Hit] = []
        for place_environment, place_scope in places:
            asked = Query(
                text=text,
                namespace=self.namespace,
                kinds=("rule", "skill", "fact", "summary"),
                environment=place_environment,
                scope=place_scope,
                k=self._k,
                floor=0.0 if place_scope else Query(text=text).floor,
                statuses=self._statuses,
            )
            hits += self.store.search(asked).hits
        if self._notes:
            hits += self._similar(text, environment, scope)
        return self._within([self._offer(hit) for hit in hits], budget_tokens)

    def _similar(self, text: str, environment: str, scope: str) -> Sequence[Hit]:
        similar = Query(
            text=text,
            namespace=self.namespace,
            kinds=("experience",),
            environment=environment,
            scope=scope,
            k=MAX_EXPERIENCES,
        )
        return self.store.search(similar).hits

    @property
    def _statuses(self) -> frozenset[Status]:
        """What may be offered; without notes, candidates must not take the place of what instructs."""
        return RECALLABLE if self._notes or self._on_trial else frozenset({"active"})

    def observe(self, outcome: Outcome) -> None:
        """Store the episode as an experience; credit or blame the records that it had recalled."""
        ids = tuple(outcome.recalled)
        if ids:
            self.store.mark_recalled(ids, run_id=outcome.run_id)
        self.store.insert(
            experience_of(outcome, self.namespace),
            idempotency_key=f"episode:{outcome.episode_id}",
        )
        if ids:
            self.store.feedback(
                Feedback(
                    ids=ids,
                    helped=outcome.solved,
                    run_id=outcome.run_id,
                    idempotency_key=f"episode:{outcome.episode_id}",
                )
            )

    def close(self) -> None:
        """Release the store."""
        self.store.close()

    def _within(self, offered: Iterable[Recalled], budget_tokens: int) -> list[Recalled]:
        chosen: list[Recalled] = []
        left, notes = budget_tokens, self._notes
        for entry in offered:
            cost = count_tokens(entry.text)
            if len(chosen) < self._k and cost <= left and (entry.trusted or notes > 0):
                chosen.append(entry)
                left -= cost
                notes -= not entry.trusted
        return chosen

    def _offer(self, hit: Hit) -> Recalled:
        record = hit.record
        on_trial = self._on_trial and record.kind == "rule" and record.status == "candidate"
        return Recalled(
            id=record.id,
            kind=record.kind,
            text=shown(record),
            score=hit.score,
            trusted=record.may_instruct or on_trial,
        )


def shown(record: Record) -> str:
    """Return what of a record is shown to a model."""
    return record.text if record.kind != "experience" else record.indexed_text


def experience_of(outcome: Outcome, namespace: tuple[str, ...]) -> Draft:
    """Return a finished episode as a draft; its text is data of the environment."""
    body = {
        "episode_id": outcome.episode_id,
        "prompt": outcome.prompt,
        "turns": [_turn(turn) for turn in outcome.turns],
        "solved": outcome.solved,
        "score": outcome.score,
        "recalled": list(outcome.recalled),
    }
    return Draft(
        text=clean(_summary(outcome)),
        kind="experience",
        namespace=namespace,
        body=clean(json.dumps(body, ensure_ascii=False)),
        environment=outcome.environment,
        scope=outcome.scope,
        task_id=outcome.task_id,
        outcome=Verdict(
            success=outcome.solved,
            score=outcome.score,
            verifier=f"environment:{outcome.environment}",
        ),
        provenance=Provenance(
            origin="environment",
            source=outcome.environment,
            run_id=outcome.run_id,
            step=len(outcome.turns),
        ),
    )


def clean(text: str) -> str:
    """Return `text` without what cannot be stored: control characters and lone surrogates."""
    return _UNPRINTABLE.sub("�", text.encode("utf-8", "replace").decode())


def _turn(turn: Turn) -> dict[str, object]:
    return {"action": turn.action, "observation": turn.observation, "error": turn.error}


def _summary(outcome: Outcome) -> str:
    verdict = "solved" if outcome.solved else "failed"
    prompt = " ".join(outcome.prompt.split())[: GIST_CHARS // 2]
    actions = "; ".join(" ".join(turn.action.split()) for turn in outcome.turns)
    last = next((turn.observation for turn in reversed(outcome.turns) if turn.error), "")
    ending = f" Last error: {' '.join(last.split())}" if last else ""
    room = GIST_CHARS - len(prompt) - 60
    return f"Task: {prompt} {verdict} with: {actions[: max(80, room // 2)]}.{ending}"[:GIST_CHARS]
