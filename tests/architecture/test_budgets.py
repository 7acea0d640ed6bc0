"""Size budgets and docstrings of the three packages, counted over the syntax trees.

Soft budgets may be passed by one in twenty; hard ones by none.
"""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    ROOT / "agentevo",
    ROOT / "memory/agentevo_memory",
    ROOT / "environments/agentevo_environments",
)
MODULE_SOFT, MODULE_HARD = 300, 400
FUNCTION_SOFT, FUNCTION_HARD = 40, 60
SHARE_ABOVE_SOFT = 0.05
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "types"}

FILES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
LENGTHS = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}


def functions() -> Iterator[tuple[str, Function]]:
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.lineno} {node.name}", node


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_public(name: str) -> bool:
    return not name.startswith("_")


def decorators(node: Function) -> set[str]:
    return {ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list}


def undocumented(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[str]:
    for child in node.body:
        if isinstance(child, ast.ClassDef) and is_public(child.name):
            if ast.get_docstring(child) is None:
                yield f"{prefix}.{child.name}"
            yield from undocumented(child, f"{prefix}.{child.name}")
        if isinstance(child, Function) and is_public(child.name):
            inherits = decorators(child) & {"override", "overload", "setter"}
            if not inherits and ast.get_docstring(child) is None:
                yield f"{prefix}.{child.name}"


def test_all_three_packages_are_counted() -> None:
    assert len(FILES) > 20
    assert all(any(package in path.parents for path in FILES) for package in PACKAGES)


def test_no_module_is_longer_than_the_hard_budget() -> None:
    assert {name: lines for name, lines in LENGTHS.items() if lines > MODULE_HARD} == {}


def test_hardly_any_module_is_longer_than_the_soft_budget() -> None:
    longer = {name: lines for name, lines in LENGTHS.items() if lines > MODULE_SOFT}
    assert len(longer) <= SHARE_ABOVE_SOFT * len(LENGTHS), longer


def test_no_function_is_longer_than_the_hard_budget() -> None:
    assert {name: length(node) for name, node in functions() if length(node) > FUNCTION_HARD} == {}


def test_hardly_any_function_is_longer_than_the_soft_budget() -> None:
    lengths = {name: length(node) for name, node in functions()}
    longer = {name: lines for name, lines in lengths.items() if lines > FUNCTION_SOFT}
    assert len(longer) <= SHARE_ABOVE_SOFT * len(lengths), longer


def test_half_of_the_functions_fit_on_a_dozen_lines() -> None:
    assert statistics.median(length(node) for _, node in functions()) <= 12


@pytest.mark.parametrize("name", TREES)
def test_a_module_says_its_responsibility_and_documents_what_is_public(name: str) -> None:
    tree = TREES[name]
    docstring = ast.get_docstring(tree) or ""
    assert docstring.split("\n")[0].rstrip().endswith((".", "?", ":")) or "\n" in docstring.strip()
    assert list(undocumented(tree, name)) == []


@pytest.mark.parametrize("name", TREES)
def test_a_module_is_named_after_what_it_holds(name: str) -> None:
    assert set(Path(name).with_suffix("").parts) & FORBIDDEN_NAMES == set()


def test_tests_use_real_parts() -> None:
    offenders = [
        name_of(path)
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__)
        and any(word in path.read_text(encoding="utf-8") for word in ("unittest.mock", "MagicMock"))
    ]
    assert offenders == []
