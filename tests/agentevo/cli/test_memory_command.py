import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentevo_memory import Draft, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder


class Command:
    """`agentevo memory` over one store, in process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def __call__(self, *args: str) -> tuple[int, dict[str, Any]]:
        from agentevo.cli import app

        with pytest.raises(SystemExit) as ended:
            app(["memory", *args, "--path", str(self.folder), "--json"])
        code = ended.value.code
        return (code if isinstance(code, int) else 0), json.loads(self._capsys.readouterr().out)

    def ok(self, *args: str) -> Any:
        code, document = self(*args)
        assert (code, document["status"]) == (0, "ok"), document
        return document["data"]


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.setenv("AGENTEVO_EMBEDDER", "hashing")
    with VectorMemory(tmp_path / "m", embedder=HashingEmbedder(), index="exact") as memory:
        memory.insert_many([Draft(text="Green tea at noon"), Draft(text="Rain at night")])
    return Command(tmp_path / "m", capsys)


def test_records_are_listed_searched_and_shown(command: Command) -> None:
    records = command.ok("list")["records"]
    assert [record["text"] for record in records] == ["Rain at night", "Green tea at noon"]
    hit = command.ok("search", "tea")["hits"][0]
    assert hit["text"] == "Green tea at noon"
    assert "dense" in hit["explain"]
    assert command.ok("show", hit["id"])["history"][0]["op"] == "insert"
    assert command.ok("why", hit["id"])["parents"] == []


def test_a_table_shows_the_beginning_of_a_long_text_only(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    from agentevo.cli import app

    command.ok("insert", "long " * 20_000)
    for words in (["list"], ["search", "long"]):
        with pytest.raises(SystemExit):
            app(["memory", *words, "--path", str(command.folder)])
        shown = capsys.readouterr().out
        assert "long long" in shown
        assert len(shown) < 20_000
    assert len(command.ok("list")["records"][0]["text"]) > 90_000


def test_what_is_inserted_can_be_undone(command: Command) -> None:
    done = command.ok("insert", "Snow in May", "--kind", "rule")
    assert done["action"] == "added"
    assert command.ok("diff")["operations"][0]["id"] == done["operation"]
    assert command.ok("diff", str(done["operation"]))["changes"][0]["record_id"] == done["id"]
    assert command.ok("undo", str(done["operation"]))["withdrawn"] == [done["id"]]
    assert command.ok("list", "--status", "dormant")["records"][0]["id"] == done["id"]


def test_forget_and_erase(command: Command) -> None:
    assert (
        len(command.ok("forget", "--policy", "fifo", "--keep", "1", "--dry-run")["forgotten"]) == 1
    )
    first = command.ok("list")["records"][-1]["id"]
    assert command.ok("forget", first)["forgotten"] == [[first, "asked for"]]
    assert command.ok("forget", first, "--erase")["complete"]
    assert command.ok("list", "--status", "erased")["records"][0]["text"] == ""


def test_revoke_reflect_promote_and_reindex(command: Command) -> None:
    assert command.ok("reflect", "--dry-run")["diff"] == ""
    assert len(command.ok("revoke", "--origin", "user")["quarantined"]) == 2
    record = command.ok("list")["records"][0]["id"]
    assert command.ok("promote", record)["status"] == "active"
    assert command.ok("reindex")["embedded"] == 0


def test_export_and_import_keep_everything(command: Command, tmp_path: Path) -> None:
    for options in (
        ["--out", str(tmp_path / "e.jsonl")],
        ["--markdown", "--out", str(tmp_path / "e.md")],
    ):
        before = command.ok("list")["records"]
        file = command.ok("export", *options)["path"]
        command.folder = tmp_path / Path(file).suffix
        assert command.ok("import", file, "--trusted")["added"] == 2
        assert command.ok("list")["records"] == before


def test_as_of_stats_verify_and_map(command: Command, tmp_path: Path) -> None:
    assert command.ok("as-of", "2020-01-01")["records"] == []
    assert len(command.ok("as-of", "9999999999")["records"]) == 2
    assert command.ok("stats")["events"] == 2
    assert command.ok("verify")["intact"] is True
    drawn = command.ok("map", "--out", str(tmp_path / "map.png"))
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert drawn["points"] == 2


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["show", "nobody"], 2),
        (["list", "--namespace", "nowhere"], 2),
        (["list", "--kind", "thought"], 2),
        (["undo", "99"], 2),
        (["forget"], 2),
        (["forget", "--policy", "burn"], 2),
        (["revoke"], 2),
        (["as-of", "yesterday"], 2),
        (["import", "/no/such/file"], 2),
        (["insert", ""], 2),
        (["reflect", "--reflector", "no.such:thing"], 2),
    ],
)
def test_wrong_usage_gives_one_message_and_code_two(
    command: Command, args: list[str], code: int
) -> None:
    found, document = command(*args)
    assert (found, document["status"]) == (code, "error")
    assert document["error"]["message"]


def test_a_damaged_journal_is_reported_and_its_intact_part_saved(command: Command) -> None:
    import sqlite3

    database = sqlite3.connect(command.folder / "journal.db")
    database.execute("UPDATE event SET actor='x' WHERE seq=2")
    database.commit()
    database.close()
    code, document = command("verify")
    assert code == 1
    assert "event 2" in document["error"]["message"]
    assert "--salvage" in document["error"]["message"]
    assert "Rain" not in command.ok("export", "--salvage")["text"]


def test_listing_loads_no_heavy_package(command: Command) -> None:
    script = (
        "import sys\nfrom agentevo.cli import app\n"
        f"try:\n    app(['memory', 'list', '--path', {str(command.folder)!r}])\n"
        "except SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'chromadb', 'numpy', 'onnxruntime', 'langgraph', "
        "'langchain_core') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
