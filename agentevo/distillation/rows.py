"""Training rows: one conversation, two system prompts (teacher's and student's), its lineage.

The teacher is the frozen base model with the rules in its prompt; the student is the same model
with the adapter on and the student's prompt. A row whose two prompts are equal asks the adapter to
change nothing there.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

RowKind = Literal["target", "with_rules", "replay", "scope", "conflict", "rejected"]
ROW_KINDS: tuple[RowKind, ...] = get_args(RowKind)
KEPT_KINDS: tuple[RowKind, ...] = ("replay", "scope", "conflict")
"""Rows of what must not change."""

Message = Mapping[str, Any]
"""A chat message in the OpenAI form: role, content, and tool_calls of an assistant."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a row comes from, so that it can be audited and taken back.

    Attributes:
        record_ids: Memory records whose text the teacher reads or that the episode recalled.
        run_id: The run that produced the episode; "" for generated rows.
        episode_id: The episode; "" for generated rows.
        trust: Minimum over the records, from 0 to 1.
        verified: Whether the environment graded the episode as solved.
        real: Whether an agent did it, as opposed to a generated row.
    """

    record_ids: tuple[str, ...] = ()
    run_id: str = ""
    episode_id: str = ""
    trust: float = 1.0
    verified: bool = True
    real: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation to learn from.

    Attributes:
        kind: `target`: rules in the teacher's prompt only. `with_rules`: the same scope with its
            rules in both prompts. `replay`: other skills and scopes, prompts equal. `scope`: the
            same tasks under another scope, no rules: the base's behaviour. `conflict`: a rule in
            both prompts contradicts what is distilled; the prompt wins. `rejected`: a failed
            attempt at the task of the `target` row named by `pair`, for `dpo`.
        scope: The scope that the task belongs to.
        teacher_system: System prompt of the teacher; "" for none.
        student_system: System prompt of the student.
        messages: The conversation after the system prompt; assistant turns are what is learnt.
        tools: The tools that the prompt declares, as JSON objects in the OpenAI form.
        lineage: Where it comes from.
        pair: For `rejected`, the id of its `target` row.
    """

    kind: RowKind
    scope: str
    teacher_system: str
    student_system: str
    messages: tuple[Message, ...]
    lineage: Lineage = field(default_factory=Lineage)
    tools: tuple[Mapping[str, Any], ...] = ()
    pair: str = ""

    @property
    def id(self) -> str:
        """Content hash: equal rows have equal ids, whatever their lineage."""
        content = asdict(self)
        del content["lineage"]
        return hashlib.sha256(_canonical(content).encode()).hexdigest()[:24]

    def text(self) -> str:
        """Return everything the student would read or write, for duplicate and leak checks."""
        return "\n".join([self.student_system, *(_canonical(m) for m in self.messages)])


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=dict)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSONL, one object per line, as `read_rows` reads them."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            value = asdict(row) | {"id": row.id}
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def write_chat(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as chats for other trainers, one JSON object per line.

    `messages` begins with the student's system prompt and `tools` stands beside it, the form that
    trainers of chat models read; `teacher_system`, `kind`, `scope`, `id` and `lineage` come with it.
    """
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            system = [{"role": "system", "content": row.student_system}]
            chat = {
                "messages": [*(system if row.student_system else []), *row.messages],
                "tools": row.tools,
                "teacher_system": row.teacher_system,
                **{name: getattr(row, name) for name in ("kind", "scope", "id", "pair")},
                "lineage": asdict(row.lineage),
            }
            file.write(json.dumps(chat, ensure_ascii=False, default=dict) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote.

    Raises:
        ValueError: A line is not a row; the message names the file and the line.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            value = json.loads(line)
            claimed = value.pop("id")
            lineage = value.pop("lineage")
            lineage["record_ids"] = tuple(lineage["record_ids"])
            for name in ("messages", "tools"):
                value[name] = tuple(value[name])
            row = Row(**value, lineage=Lineage(**lineage))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a training row: {error}") from error
        if row.id != claimed:
            raise ValueError(
                f"{path}:{number}: the row was edited: its id is {row.id}, not {claimed}"
            )
        rows.append(row)
    return rows
