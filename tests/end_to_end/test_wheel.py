"""The wheel works outside the checkout, beside a user's own `memory` and `environments`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json
import agentevo, agentevo_environments, agentevo_memory
import environments, memory
from agentevo import load_settings, run
from agentevo_memory import VectorMemory

report = run(load_settings({"env": {"name": "code", "n": 2}, "home": "data"}))
store = VectorMemory("store", embedder="hashing")
store.insert("Answer with a whole function.")
print(json.dumps({
    "files": [m.__file__ for m in (agentevo, agentevo_environments, agentevo_memory)],
    "own": [memory.MINE, environments.MINE],
    "solved": report.solved,
    "found": store.search("what to answer").hits[0].record.text,
}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    [wheel] = folder.glob("agentevo-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", wheel], check=True)
    return folder / "site"


@pytest.fixture
def user_folder(tmp_path: Path) -> Path:
    for name in ("memory", "environments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def in_user_folder(site: Path, folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_script_beside_folders_of_the_same_names_uses_the_wheel(
    site: Path, user_folder: Path
) -> None:
    result = json.loads(in_user_folder(site, user_folder, "script.py").splitlines()[-1])
    assert all(Path(file).is_relative_to(site) for file in result["files"])
    assert result["own"] == [True, True]
    assert result["solved"] == 2
    assert result["found"] == "Answer with a whole function."


@pytest.mark.slow
def test_the_command_line_runs_there_and_finds_its_data(site: Path, user_folder: Path) -> None:
    out = in_user_folder(
        site, user_folder, "-m", "agentevo", "run", "--env", "code", "--n", "2", "-q", "--json"
    )
    assert json.loads(out)["data"]["solved"] == 2
    assert (site / "agentevo_environments/packs/code/tasks.jsonl").is_file()
    path = in_user_folder(site, user_folder, "-m", "agentevo", "seed-model", "path").strip()
    assert Path(path).is_relative_to(site)
