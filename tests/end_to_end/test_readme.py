"""The commands of README.md, run as a reader would, with what they print.

Convention of the README, read from top to bottom in one empty folder:
- A block ```console holds commands (`$ ` first; a trailing backslash goes on) and, below each, its output.
  Every command must end with exit code 0, and the lines shown must occur in its output, in order.
- In a shown line `...` stands for anything; numbers before s, ms, min or tokens may differ, and so
  may spacing. Output that is not shown is not compared.
- `<!-- file: NAME -->` before a block writes the block to NAME instead of running it.
- `<!-- not run: WHY -->` before a block leaves it out. Blocks in other languages are not run.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- *(?P<mark>file|not run): *(?P<what>.+?) *-->\n+)?^```(?P<language>\w*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
CHANGING = re.compile(r"\d[\d.,]*(?= ?(?:s|ms|min|tokens)\b)")


@dataclass(frozen=True)
class Step:
    """One thing that the reader does: write `file`, or run `command` and see `shown`."""

    command: str = ""
    shown: tuple[str, ...] = ()
    file: str = ""
    text: str = ""


def steps_of(document: str) -> list[Step]:
    steps: list[Step] = []
    for block in BLOCK.finditer(document):
        if block["mark"] == "file":
            steps.append(Step(file=block["what"], text=block["body"]))
        elif block["language"] == "console" and block["mark"] is None:
            steps += commands_of(block["body"])
    return steps


def commands_of(body: str) -> list[Step]:
    parts = re.split(r"^\$ ", body.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    lines = [part.splitlines() for part in parts]
    return [Step(command=command, shown=tuple(filter(None, shown))) for command, *shown in lines]


def pattern_of(line: str) -> re.Pattern[str]:
    words = " ".join(line.split())
    pieces = [
        r"[\d.,]+".join(re.escape(text) for text in CHANGING.split(piece))
        for piece in words.split("...")
    ]
    return re.compile(".*".join(pieces))


def missing_lines(shown: Sequence[str], output: str) -> list[str]:
    """Return the shown lines that do not occur, in this order, in the output."""
    printed = iter([" ".join(line.split()) for line in output.splitlines()])
    return [line for line in shown if not any(pattern_of(line).search(out) for out in printed)]


def do(step: Step, folder: Path) -> None:
    if step.file:
        path = folder / step.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text, encoding="utf-8")
        return
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step.command],
        cwd=folder,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"$ {step.command}\n{done.stdout}"
    assert missing_lines(step.shown, done.stdout) == [], f"$ {step.command}\n{done.stdout}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_commands_of_the_readme_do_what_it_shows(tmp_path: Path) -> None:
    for step in steps_of(README.read_text(encoding="utf-8")):
        do(step, tmp_path)


SAMPLE = """
Text.
```console
$ echo one; echo "took 3.5 s"
one
took 99 s
$ cat hello.txt \\
    hello.txt
hel...
```
<!-- not run: needs a key -->
```console
$ false
```
```sh
false
```
<!-- file: hello.txt -->
```text
hello
```
"""


def test_steps_are_read_in_order_and_marked_blocks_are_honoured() -> None:
    steps = steps_of(SAMPLE)
    assert [step.command.split(";")[0] for step in steps] == [
        "echo one",
        "cat hello.txt      hello.txt",
        "",
    ]
    assert steps[0].shown == ("one", "took 99 s")
    assert (steps[2].file, steps[2].text) == ("hello.txt", "hello\n")


def test_a_shown_line_matches_with_wildcards_times_and_spacing() -> None:
    output = "run  r1  solved 3/3\ntook 12.5 s, 1,024 tokens\n"
    assert missing_lines(["run ... solved 3/3", "took 1 s, 7 tokens"], output) == []


@pytest.mark.parametrize("shown", ["solved 2/3", "other", "run r1 solved 3/3 now"])
def test_a_shown_line_that_is_not_printed_is_found(shown: str) -> None:
    assert missing_lines([shown], "run r1 solved 3/3\n") == [shown]


def test_shown_lines_must_come_in_order() -> None:
    assert missing_lines(["b", "a"], "a\nb\n") == ["a"]


def test_a_failing_command_of_the_readme_fails_the_test(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="false"):
        do(Step(command="false | true"), tmp_path)
