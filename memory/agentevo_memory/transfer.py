"""Export and import: the whole memory as text, and back without loss.

JSONL has one header line and one line per record or edge. Markdown shows the same records to people,
with the JSON in comments; both are read back to exactly the records that were written.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from agentevo_memory.errors import RecordError
from agentevo_memory.history import fold
from agentevo_memory.journal import Journal, Selection
from agentevo_memory.record import Record
from agentevo_memory.transaction import Transaction, dump

FORMAT = "agentevo-memory"
VERSION = 1
_COMMENT = re.compile(r"<!-- (\{.*\}) -->")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did.

    Attributes:
        added: Records that are new here.
        present: Records that were here already, unchanged.
        operation: Number for `undo`; 0 if nothing was written.
    """

    added: int
    present: int
    operation: int


def export_lines(journal: Journal, selection: Selection | None = None) -> Iterator[str]:
    """Yield the lines of a JSONL export, without line ends; erased records are left out."""
    records = [r for r in journal.records(selection) if r.status != "erased"]
    yield dump({"format": FORMAT, "version": VERSION, "records": len(records)})
    ids = {record.id for record in records}
    for record in records:
        yield dump({"record": record.to_dict()})
    for src, rel, dst in journal.edges():
        if src in ids:
            yield dump({"edge": [src, rel, dst]})


def export_markdown(journal: Journal, selection: Selection | None = None) -> Iterator[str]:
    """Yield the lines of a Markdown export."""
    lines = export_lines(journal, selection)
    yield "# Memory"
    yield f"<!-- {_escape(next(lines))} -->"
    for line in lines:
        content = json.loads(line)
        if "record" in content:
            record = Record.from_dict(content["record"])
            yield ""
            yield f"## {record.kind} {record.id} ({record.status})"
            yield ""
            yield from (f"> {part}" for part in record.text.replace("-->", "-- >").splitlines())
            yield ""
        yield f"<!-- {_escape(line)} -->"


def parse(lines: Iterable[str]) -> tuple[list[Record], list[tuple[str, str, str]]]:
    """Return the records and edges of an export in either format.

    Raises:
        RecordError: At the first line that is not part of an export; the message names it.
    """
    records: list[Record] = []
    edges: list[tuple[str, str, str]] = []
    header: dict[str, Any] = {}
    for number, line in enumerate(lines, 1):
        text = _payload(line)
        if text is None:
            continue
        try:
            content = json.loads(text)
            if "record" in content:
                records.append(Record.from_dict(content["record"]))
            elif "edge" in content:
                src, rel, dst = content["edge"]
                edges.append((str(src), str(rel), str(dst)))
            else:
                header = content
        except (ValueError, TypeError, KeyError) as error:
            raise RecordError(f"line {number} is not part of an export: {error}") from error
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise RecordError(
            f"no export of {FORMAT} version {VERSION}: the header is {header!r}; "
            "`agentevo memory export` writes one"
        )
    if header["records"] != len(records):
        raise RecordError(
            f"the export announces {header['records']} records and holds {len(records)}; "
            "it was cut short: export it again"
        )
    return records, edges


def import_into(
    journal: Journal,
    tx: Transaction,
    records: Iterable[Record],
    edges: Iterable[tuple[str, str, str]],
    *,
    trusted: bool,
) -> Imported:
    """Store exported records under their own ids, inside a running transaction.

    Args:
        journal: Where to.
        tx: The transaction.
        records: What to store; a record that is here already is left as it is.
        edges: How they are connected.
        trusted: Take over trust and status as they were. Otherwise nothing instructs: trust is at
            most that of an import, and rules and skills are candidates.
    """
    added = present = 0
    for record in records:
        if journal.query("SELECT 1 FROM record WHERE id=?", (record.id,)):
            present += 1
            continue
        tx.add(record if trusted else _distrusted(record), {})
        added += 1
    for src, rel, dst in edges:
        if not journal.query("SELECT 1 FROM edge WHERE src=? AND rel=? AND dst=?", (src, rel, dst)):
            tx.link(src, rel, dst)
    return Imported(added, present, tx.operation)


def salvage(journal: Journal) -> list[Record]:
    """Return the records that the intact part of a damaged journal adds up to."""
    return fold(journal.intact_events())


def salvage_lines(journal: Journal) -> Iterator[str]:
    """Yield a JSONL export of the intact part of a damaged journal."""
    records = salvage(journal)
    yield dump({"format": FORMAT, "version": VERSION, "records": len(records)})
    yield from (dump({"record": record.to_dict()}) for record in records)


def _distrusted(record: Record) -> Record:
    from agentevo_memory.record import ORIGIN_TRUST

    instructs = record.kind in ("rule", "skill") and record.status == "active"
    return replace(
        record,
        trust=min(record.trust, ORIGIN_TRUST["import"]),
        status="candidate" if instructs else record.status,
        verified_by="",
    )


def _payload(line: str) -> str | None:
    text = line.strip()
    if text.startswith("{"):
        return text
    match = _COMMENT.fullmatch(text)
    return match.group(1) if match else None


def _escape(line: str) -> str:
    return line.replace("-->", "--\\u003e")
