"""Rows keep their lineage, know their own content, and survive a file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agentevo.distillation.rows import Lineage, Row, read_rows, write_rows


def test_rows_survive_a_file(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    rows = [make_row(), make_row("scope", task="mové ☃"), make_row("rejected", pair="x")]
    write_rows(tmp_path / "rows.jsonl", rows)
    assert read_rows(tmp_path / "rows.jsonl") == rows


def test_an_edited_row_is_found(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row(), make_row(task="lift")])
    path.write_text(path.read_text().replace("zabo.", "evil."))
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: the row was edited"):
        read_rows(path)


@pytest.mark.parametrize("line", ["not json", "[]", json.dumps({"id": "x"})])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl:1: not a training row"):
        read_rows(tmp_path / "rows.jsonl")


def test_the_id_follows_the_content_and_not_the_lineage(make_row: Callable[..., Row]) -> None:
    row = make_row()
    assert replace(row, lineage=Lineage(("other",))).id == row.id
    assert replace(row, student_system="x").id != row.id
