"""Task files: both formats are read, and everything else is an error that names the line."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentevo_environments.errors import TaskFileError
from agentevo_environments.packs.code.grading import HiddenTests
from agentevo_environments.packs.code.task_file import read_tasks

HUMANEVAL = {
    "task_id": "T/0",
    "prompt": "import math\n\ndef root(n: int) -> int:\n    '''Whole root.'''\n",
    "entry_point": "root",
    "canonical_solution": "    return math.isqrt(n)\n",
    "test": "def check(candidate):\n    assert candidate(9) == 3\n",
}
MBPP = {
    "task_id": 7,
    "text": "Write a function to double a number.",
    "code": "def double(n):\r\n    return 2 * n",
    "test_list": ["assert double(2) == 4", "assert len([double(0)]) == 1"],
    "test_setup_code": "",
    "challenge_test_list": ["assert double(-1) == -2"],
}


def write(folder: Path, *records: object, name: str = "tasks.jsonl") -> Path:
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    path = folder / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_humaneval_line_becomes_a_task(tmp_path: Path) -> None:
    (task,) = read_tasks(write(tmp_path, "", HUMANEVAL))
    hidden = HiddenTests.of(task)
    assert (task.id, task.split, task.prompt) == ("T/0", "test", HUMANEVAL["prompt"])
    assert hidden.reference == f"{HUMANEVAL['prompt']}{HUMANEVAL['canonical_solution']}"
    assert (hidden.entry_point, hidden.has_check, hidden.preamble) == ("root", True, "import math")


def test_an_mbpp_line_becomes_a_task_that_names_the_function_and_hides_the_tests(
    tmp_path: Path,
) -> None:
    (task,) = read_tasks(write(tmp_path, {**MBPP, "split": "train"}))
    hidden = HiddenTests.of(task)
    assert (task.id, task.split) == ("MBPP/7", "train")
    assert task.prompt == f"{MBPP['text']}\n\nDefine the function `double(n)`."
    assert (hidden.entry_point, hidden.has_check) == ("double", False)
    assert "double(-1)" in hidden.tests


def test_a_packed_file_reads_like_the_plain_one(tmp_path: Path) -> None:
    plain = write(tmp_path, HUMANEVAL, MBPP)
    packed = tmp_path / "tasks.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_tasks(packed) == read_tasks(plain)


def test_a_task_without_a_known_solution_is_accepted(tmp_path: Path) -> None:
    records = [
        {k: v for k, v in r.items() if k not in {"canonical_solution", "code"}}
        for r in (HUMANEVAL, MBPP)
    ]
    tasks = read_tasks(write(tmp_path, *records))
    assert [task.data["reference"] for task in tasks] == ["", ""]
    assert tasks[1].prompt.endswith("Define the function `double(...)`.")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"task_id": "x", ', "not JSON"),
        ('["a"]', "a task is a JSON object"),
        (
            {"task_id": "x", "prompt": "y"},
            "neither HumanEval (with 'test') nor MBPP (with 'test_list')",
        ),
        ({**HUMANEVAL, "entry_point": ""}, "'entry_point' must be a non-empty text"),
        (
            {k: v for k, v in HUMANEVAL.items() if k != "prompt"},
            "'prompt' must be a non-empty text, and is missing",
        ),
        ({**HUMANEVAL, "task_id": None}, "'task_id' must be a text or a number"),
        ({**HUMANEVAL, "test": "def check(candidate):\n    pass\n"}, "the task has no tests"),
        (
            {**HUMANEVAL, "test": "def check(candidate):\n    assert True\n"},
            "the task has no tests",
        ),
        ({**HUMANEVAL, "test": "assert root(9) == 3"}, "must define check(candidate)"),
        ({**HUMANEVAL, "test": "def check(candidate:\n"}, "'test' is not Python"),
        ({**HUMANEVAL, "canonical_solution": "    return (\n"}, "is not Python"),
        ({**HUMANEVAL, "entry_point": "roof"}, "does not define the function 'roof'"),
        ({**MBPP, "test_list": [], "challenge_test_list": []}, "the task has no tests"),
        ({**MBPP, "test_list": "assert double(2) == 4"}, "'test_list' must be a list of texts"),
        (
            {**MBPP, "test_list": ["assert 1 + 1 == 2"], "challenge_test_list": []},
            "calls a function",
        ),
        ({**MBPP, "code": "def triple(n): pass"}, "does not define the function 'double'"),
        ({**HUMANEVAL, "task_id": "first"}, "the task id 'first' was used before"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: object, complaint: str) -> None:
    path = write(tmp_path, {**HUMANEVAL, "task_id": "first"}, "", line)
    with pytest.raises(TaskFileError) as caught:
        read_tasks(path)
    assert str(caught.value).startswith(f"{path}, line 3: ")
    assert complaint in str(caught.value)


def test_a_file_without_tasks_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match="holds no task"):
        read_tasks(write(tmp_path, "", " "))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"there is no file .*nowhere\.jsonl"):
        read_tasks(tmp_path / "nowhere.jsonl")


def test_another_kind_of_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TaskFileError, match=r"the two kinds that are read"):
        read_tasks(write(tmp_path, HUMANEVAL, name="tasks.csv"))


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(TaskFileError, match="cannot be read"):
        read_tasks(tmp_path / "folder.jsonl")


@pytest.mark.parametrize("cut", [10, -9])
def test_a_cut_packed_file_is_an_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "tasks.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(HUMANEVAL).encode())[:cut])
    with pytest.raises(TaskFileError, match="cannot be read"):
        read_tasks(path)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(json.dumps(HUMANEVAL).encode() + b'\n{"task_id": "\xff"}\n')
    with pytest.raises(TaskFileError, match="line 2: not UTF-8"):
        read_tasks(path)


fields = st.sampled_from(sorted({*HUMANEVAL, *MBPP}))
values = st.one_of(
    st.none(),
    st.text(),
    st.integers(),
    st.lists(st.one_of(st.text(), st.integers()), max_size=2),
    st.sampled_from([*HUMANEVAL.values(), *MBPP.values()]),
)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(base=st.sampled_from([{}, HUMANEVAL, MBPP]), changes=st.dictionaries(fields, values))
def test_any_object_is_a_task_or_a_task_file_error(
    tmp_path: Path, base: dict[str, object], changes: dict[str, object]
) -> None:
    path = write(tmp_path, {**base, **changes})
    try:
        (task,) = read_tasks(path)
    except TaskFileError:
        with pytest.raises(TaskFileError, match="line 1: "):
            read_tasks(path)
    else:
        assert HiddenTests.of(task).entry_point
