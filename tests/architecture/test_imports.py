"""Importing the packages is cheap and has no side effects, and imports point down."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = [
    "torch",
    "transformers",
    "sentence_transformers",
    "chromadb",
    "llama_cpp",
    "docker",
    "peft",
    "gguf",
    "onnx",
    "onnxruntime",
    "tokenizers",
    "accelerate",
    "matplotlib",
]
AGENT_STACK = ["langgraph", "langchain", "langchain_core", "numpy"]
EVERY_MODULE = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
"""
REPORT = """
import json, pathlib, sys
names = sorted({name.partition('.')[0] for name in sys.modules})
pathlib.Path(sys.argv[2]).write_text(json.dumps(names))
"""


def loaded_by(code: str, argument: str, folder: Path) -> tuple[set[str], str]:
    """Return the top-level modules that `code` loads in a fresh process, and what it printed."""
    report = folder / "report.json"
    work = folder / "work"
    work.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code + REPORT, argument, str(report)],
        cwd=work,
        env={"PATH": "/usr/bin:/bin", "HOME": str(work)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(work.iterdir()) == [], "importing created files"
    return set(json.loads(report.read_text())), done.stdout + done.stderr


@pytest.mark.parametrize(
    "module",
    ["agentevo", "agentevo_memory", "agentevo_environments", "agentevo.cli", "agentevo.config"],
)
def test_importing_loads_nothing_heavy_prints_nothing_and_creates_nothing(
    module: str, tmp_path: Path
) -> None:
    code = "import importlib, sys; importlib.import_module(sys.argv[1])"
    modules, printed = loaded_by(code, module, tmp_path)
    assert modules & {*HEAVY, *AGENT_STACK} == set()
    assert printed == ""


@pytest.mark.parametrize("package", ["agentevo", "agentevo_memory", "agentevo_environments"])
def test_no_module_loads_a_heavy_package_before_it_is_used(package: str, tmp_path: Path) -> None:
    modules, printed = loaded_by(EVERY_MODULE, package, tmp_path)
    assert modules & set(HEAVY) == set()
    assert printed == ""


@pytest.mark.parametrize("package", ["agentevo_memory", "agentevo_environments"])
def test_memory_and_environments_do_without_the_agent_stack(package: str, tmp_path: Path) -> None:
    modules, _ = loaded_by(EVERY_MODULE, package, tmp_path)
    assert modules & {"langgraph", "langchain", "langchain_core", "agentevo"} == set()


def test_imports_point_down() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    command = str(program) if program.exists() else shutil.which("lint-imports")
    assert command, "lint-imports is missing; install the extra dev"
    done = subprocess.run(
        [command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
