"""What a sandbox must do with files and execution ids. Parts of `sandbox`'s checks."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from agentevo_environments.conformance.checks import ConformanceError, require
from agentevo_environments.sandboxes.base import Limits, Program, Sandbox

BYTES = bytes(range(256))
ODD_NAMES = ("with space.txt", "new\nline.txt", "ünïcode/文件.txt", "-dash", "a/b/c/d.bin")
BAD_PATHS = ("", ".", "/etc/passwd", "..", "../up", "a/../../up", "nul\0byte")
COUNT_RUNS = "import uuid; print(uuid.uuid4())"


def places_files(sandbox: Sandbox) -> None:
    """Files of the workspace and of the program are in the working directory, byte for byte."""
    sandbox.put("kept/one.bin", BYTES)
    code = "print(open('kept/one.bin','rb').read() == bytes(range(256)), open('two.txt').read())"
    result = sandbox.exec(Program(code=code, files={"two.txt": b"two"}))
    require(result.stdout == "True two\n", f"files did not arrive: {result!r}")


def imports_placed_modules(sandbox: Sandbox) -> None:
    """A module in the working directory can be imported."""
    result = sandbox.exec(Program(code="import mine; print(mine.x)", files={"mine.py": b"x = 5"}))
    require(result.stdout == "5\n", f"the module was not found: {result!r}")


def takes_odd_names(sandbox: Sandbox) -> None:
    """Names with spaces, line breaks and letters of any script go in and come out."""
    files = {name: name.encode() for name in ODD_NAMES}
    result = sandbox.exec(Program(code="pass", files=files), keep_files=True)
    require(result.ok, f"odd names were refused: {result!r}")
    require(list(sandbox.workspace()) == sorted(ODD_NAMES), f"it has {sandbox.workspace()!r}")
    require(all(sandbox.get(name) == name.encode() for name in ODD_NAMES), "contents changed")


def refuses_bad_paths(sandbox: Sandbox) -> None:
    """Paths that leave the workspace are ValueErrors, wherever they are given."""
    for path in BAD_PATHS:
        _must_refuse(path, partial(sandbox.put, path, b""))
        program = Program(code="pass", files={path: b""})
        _must_refuse(path, partial(sandbox.exec, program))
    require(list(sandbox.workspace()) == [], "a refused path left a file")


def _must_refuse(path: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError:
        return
    raise ConformanceError(f"path {path!r} was accepted")


def names_missing_files(sandbox: Sandbox) -> None:
    """A file that is not there is a FileNotFoundError."""
    try:
        sandbox.get("absent.txt")
    except FileNotFoundError as error:
        require("absent.txt" in str(error), "the error does not name the file")
        return
    raise ConformanceError("get of a missing file did not raise FileNotFoundError")


def keeps_files_when_asked(sandbox: Sandbox) -> None:
    """With keep_files the files that are left become the workspace: new, changed, without deleted."""
    sandbox.put("changed.txt", b"old")
    sandbox.put("deleted.txt", b"old")
    code = (
        "import os\nopen('changed.txt','w').write('new')\nos.remove('deleted.txt')\n"
        "os.makedirs('d/e')\nopen('d/e/added.bin','wb').write(bytes(range(256)))"
    )
    result = sandbox.exec(Program(code=code), keep_files=True)
    require(result.ok, f"the program failed: {result!r}")
    require(list(sandbox.workspace()) == ["changed.txt", "d/e/added.bin"], "other files remained")
    require(sandbox.get("changed.txt") == b"new", "a changed file is not as it was left")
    require(sandbox.get("d/e/added.bin") == BYTES, "an added file is not as it was left")


def drops_files_when_not_asked(sandbox: Sandbox) -> None:
    """Without keep_files the workspace is as before."""
    sandbox.put("a.txt", b"old")
    sandbox.exec(Program(code="open('a.txt','w').write('new'); open('b.txt','w')"))
    require(list(sandbox.workspace()) == ["a.txt"], "a file that was not asked for was kept")
    require(sandbox.get("a.txt") == b"old", "a file was changed although not asked for")


def keeps_files_at_the_time_limit(sandbox: Sandbox) -> None:
    """What was written before the time limit is kept when asked for."""
    code = "f = open('part.txt','w'); f.write('part'); f.close()\nwhile True: pass"
    result = sandbox.exec(Program(code=code), limits=Limits(timeout_s=1.0), keep_files=True)
    require(result.ending == "timeout", f"it ended as {result!r}")
    require(list(sandbox.workspace()) == ["part.txt"], f"it has {sandbox.workspace()!r}")


def keeps_regular_files_only(sandbox: Sandbox) -> None:
    """Links, FIFOs and folders that are links are not taken over, nor followed."""
    code = (
        "import os\nos.symlink('/etc/passwd', 'link')\nos.symlink('/etc', 'folder')\n"
        "os.mkfifo('fifo')\nos.symlink('/nowhere', 'broken')\nopen('real.txt','w').write('r')\n"
        "os.symlink('real.txt', 'alias')"
    )
    result = sandbox.exec(Program(code=code), keep_files=True)
    require(result.ok, f"the program failed: {result!r}")
    require(list(sandbox.workspace()) == ["real.txt"], f"it took over {sandbox.workspace()!r}")


def limits_written_bytes(sandbox: Sandbox) -> None:
    """A file larger than file_bytes, and more files than disk_bytes, cannot be written."""
    limits = Limits(file_bytes=1 << 20, disk_bytes=4 << 20)
    code = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\ntotal = largest = 0\n"
        "for n in range(40):\n    size = 0\n    try:\n        f = open(f'f{n}', 'wb', 0)\n"
        "        while True: size += f.write(b'z' * 65536)\n    except OSError: pass\n"
        "    total += size; largest = max(largest, size)\nprint(largest, total)"
    )
    result = sandbox.exec(Program(code=code), limits=limits)
    require(result.ok, f"the program failed: {result!r}")
    largest, total = (int(word) for word in result.stdout.split())
    require(largest <= limits.file_bytes, f"a file of {largest} bytes was written")
    require(total <= limits.disk_bytes, f"{total} bytes were written in total")


def starts_clean(sandbox: Sandbox) -> None:
    """Nothing that an execution leaves is seen by the next."""
    places = "('/tmp/mark', '/dev/shm/mark', 'mark', os.path.expanduser('~/mark'))"
    leave = f"import os\nfor p in {places}:\n    try: open(p, 'w')\n    except OSError: pass"
    sandbox.exec(Program(code=leave))
    result = sandbox.exec(
        Program(code=f"import os; print([p for p in {places} if os.path.exists(p)])")
    )
    require(result.stdout == "[]\n", f"the next execution sees {result.stdout!r}")


def replays_executions(sandbox: Sandbox) -> None:
    """The same execution id gives the stored result; another id, or none, runs again."""
    first = sandbox.exec(Program(code=COUNT_RUNS), execution_id="one")
    again = sandbox.exec(Program(code=COUNT_RUNS), execution_id="one")
    require(again.replayed and not first.replayed, "the second call is not marked replayed")
    require(again.stdout == first.stdout, "the second call ran again")
    require(first.execution_id == again.execution_id == "one", "the id is not in the result")
    others = {
        sandbox.exec(Program(code=COUNT_RUNS), execution_id=i).stdout for i in ("two", "", "")
    }
    require(len(others | {first.stdout}) == 4, "different executions share a result")  # noqa: PLR2004


def runs_once_from_many_threads(sandbox: Sandbox) -> None:
    """Calls with one id at the same time run the program once."""
    with ThreadPoolExecutor(4) as threads:
        results = list(
            threads.map(
                lambda _: sandbox.exec(Program(code=COUNT_RUNS), execution_id="once"), range(4)
            )
        )
    require(len({result.stdout for result in results}) == 1, "it ran more than once")
    require(sum(result.replayed for result in results) == 3, "not all others are replays")  # noqa: PLR2004


def serves_many_threads(sandbox: Sandbox) -> None:
    """Programs of several threads run side by side, each with its own result."""
    with ThreadPoolExecutor(6) as threads:
        codes = [f"import time; time.sleep(0.05); print({n})" for n in range(18)]
        results = list(threads.map(lambda code: sandbox.exec(Program(code=code)), codes))
    seen = [result.stdout for result in results]
    require(seen == [f"{n}\n" for n in range(18)], f"results are mixed up: {seen!r}")


def resets(sandbox: Sandbox) -> None:
    """After a reset the workspace is empty and ids are new."""
    sandbox.put("a.txt", b"a")
    before = sandbox.exec(Program(code=COUNT_RUNS), execution_id="one")
    sandbox.reset()
    require(list(sandbox.workspace()) == [], "the workspace is not empty after reset")
    after = sandbox.exec(Program(code=COUNT_RUNS), execution_id="one")
    require(not after.replayed and after.stdout != before.stdout, "a result outlived the reset")


CHECKS = (
    places_files,
    imports_placed_modules,
    takes_odd_names,
    refuses_bad_paths,
    names_missing_files,
    keeps_files_when_asked,
    drops_files_when_not_asked,
    keeps_files_at_the_time_limit,
    keeps_regular_files_only,
    limits_written_bytes,
    starts_clean,
    replays_executions,
    runs_once_from_many_threads,
    serves_many_threads,
    resets,
)
"""Checks that need a started sandbox."""
