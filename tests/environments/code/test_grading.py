"""Grading: what counts, and that a solution cannot reach the tests or forge the verdict."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agentevo_environments import Grade, Limits, Sandbox, Task
from agentevo_environments.packs.code.grading import Grader, HiddenTests

Grading = Callable[[Task, str], Grade]
MakeTask = Callable[..., Task]

LIMITS = Limits(timeout_s=5.0)
SECRETS = ("zq81-vortex", "kf07-lantern")
LOOKUP_TESTS = f"""\
    assert candidate("one") == {SECRETS[0]!r}
    assert candidate("two") == {SECRETS[1]!r}
    assert candidate("one") != {SECRETS[1]!r}
    assert not candidate("three")
"""
LOOKUP_SOLUTION = f"    return dict(one={SECRETS[0]!r}, two={SECRETS[1]!r}).get(args[0], '')\n"

CHEATS = {
    "leaves with status 0 when loaded": "import sys; sys.exit(0)",
    "leaves with status 0 when called": "import os\ndef f(*a): os._exit(0)",
    "raises SystemExit when called": "def f(*a): raise SystemExit(0)",
    "raises what a test might expect": "def f(*a): raise AssertionError",
    "ends loops": "def f(*a): raise StopIteration",
    "prints verdicts": """
print('{"passed": 4, "failed": 0}', flush=True)
def f(*a): print('{"passed": 4, "failed": 0}', flush=True)
""",
    "writes verdicts and replies to every descriptor": """
import os
def f(*a):
    for fd in range(64):
        try: os.write(fd, b'{"passed": 4, "failed": 0}\\n{"value": "zq81"}\\n' * 9)
        except OSError: pass
    os._exit(0)
""",
    "returns what equals everything": """
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return True
    def __bool__(self): return False
    def __hash__(self): return 0
def f(*a): return Any()
""",
    "returns a str that equals everything": """
class Any(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return True
    def __bool__(self): return False
    def __hash__(self): return 0
def f(*a): return Any('x')
""",
    "patches builtins": """
import builtins
builtins.AssertionError = Warning
builtins.all = builtins.any = builtins.bool = lambda *a: True
builtins.compile = builtins.exec = lambda *a: None
def f(*a): return None
""",
    "patches the harness": """
import sys, json
main = sys.modules['__main__']
for name in list(vars(main)):
    if not name.startswith('__'):
        try: setattr(main, name, lambda *a, **k: {'passed': 4, 'failed': 0})
        except Exception: pass
json.dumps = lambda *a, **k: '{"passed": 4, "failed": 0}'
def f(*a): return None
""",
    "searches frames and the heap for the tests": """
import gc, sys
def texts():
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            yield from (v for v in list(thing.values()) if isinstance(v, str))
        elif isinstance(thing, (list, tuple, set)):
            yield from (v for v in thing if isinstance(v, str))
    frame = sys._getframe()
    while frame:
        yield from (v for v in frame.f_locals.values() if isinstance(v, str))
        frame = frame.f_back
MARKS = ('zq' + '81', 'kf' + '07')
def f(key):
    mark = MARKS[key == 'two']
    return next((t[t.index(mark):][:11 + (key == 'two')] for t in texts() if mark in t), '')
""",
    "searches files and memory for the tests": """
import os, re
def blobs():
    for folder in ('.', '/tmp', '/proc/self/fd', '/proc/1/fd', '/dev/shm'):
        for base, _, names in os.walk(folder):
            for name in names[:200]:
                try: fd = os.open(os.path.join(base, name), os.O_RDONLY | os.O_NONBLOCK)
                except OSError: continue
                try: yield os.read(fd, 1 << 20)
                except OSError: pass
                finally: os.close(fd)
    try:
        with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb', 0) as memory:
            for line in maps:
                low, high = (int(x, 16) for x in line.split()[0].split('-'))
                if line.split()[1].startswith('rw') and high - low < 64 << 20:
                    memory.seek(low)
                    yield memory.read(high - low)
    except (OSError, ValueError, OverflowError):
        pass
def f(key):
    mark = b'zq' + b'81-' if key == 'one' else b'kf' + b'07-'
    for blob in blobs():
        found = re.search(re.escape(mark) + b'[a-z]+', blob)
        if found: return found.group().decode()
    return ''
""",
    "leaves a thread that writes later": """
import os, threading, time
def late():
    while True:
        for fd in range(3, 64):
            try: os.write(fd, b'{"passed": 4, "failed": 0}\\n')
            except OSError: pass
threading.Thread(target=late, daemon=True).start()
def f(*a): return ''
""",
    "leaves a process that writes later": """
import os, time
if os.fork() == 0:
    os.setsid()
    for _ in range(200):
        for fd in range(1, 64):
            try: os.write(fd, b'{"passed": 4, "failed": 0}\\n')
            except OSError: pass
        time.sleep(0.01)
    os._exit(0)
def f(*a): return ''
""",
    "writes modules for the tests to import": """
import os
for name in ('ast', 'random', 'json', 'sitecustomize', 'reference'):
    try: open(name + '.py', 'w').write("import os; print('{\\"passed\\": 4, \\"failed\\": 0}'); os._exit(0)")
    except OSError: pass
def f(*a): return ''
""",
    "kills its parent": """
import os, signal
def f(*a):
    os.kill(os.getppid(), signal.SIGKILL)
    return ''
""",
    "claims that a reply is missing for a good reason": """
import os
def f(*a):
    for fd in range(3, 64):
        try: os.write(fd, b'{"missing": "but all hidden assertions hold"}\\n' * 4)
        except OSError: pass
    os._exit(0)
""",
    "registers exit handlers": """
import atexit, sys
atexit.register(lambda: sys.__stdout__.write('{"passed": 4, "failed": 0}'))
sys.excepthook = lambda *a: None
def f(*a): return ''
""",
    "hooks imports and traces": """
import sys
sys.settrace(lambda *a: None)
class Finder:
    def find_spec(self, name, path=None, target=None): return None
sys.meta_path.insert(0, Finder())
sys.modules['ast'] = sys.modules['builtins']
def f(*a): return ''
""",
    "answers with a class of the reference": "class Table:\n    pass\ndef f(*a): return Table()",
}


@pytest.fixture
def grade(sandbox: Sandbox) -> Grading:
    def run(task: Task, solution: str) -> Grade:
        return Grader(sandbox, HiddenTests.of(task), LIMITS).grade(solution)

    return run


@pytest.fixture
def lookup(make_task: MakeTask) -> Task:
    return make_task(LOOKUP_TESTS, LOOKUP_SOLUTION)


def reference(task: Task) -> str:
    return str(task.data["reference"])


def test_the_reference_solves_the_task_that_cheats_are_tried_on(
    grade: Grading, lookup: Task
) -> None:
    assert grade(lookup, reference(lookup)) == Grade(1.0, True, "4 of 4 hidden assertions hold")


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_a_cheating_solution_does_not_solve(grade: Grading, lookup: Task, cheat: str) -> None:
    found = grade(lookup, cheat)
    assert not found.solved
    assert found.score <= 0.5
    assert "passed" not in found.detail
    assert "all hidden" not in found.detail


def test_tests_and_solution_never_share_an_execution(
    grade: Grading, lookup: Task, sandbox: Any
) -> None:
    sandbox.programs.clear()
    solution = "def f(*args):\n    return 'a mark of the solution'\n"
    grade(lookup, solution)
    jobs = [program.stdin.decode() for program in sandbox.programs]
    with_tests = ["assert candidate" in job for job in jobs]
    with_solution = ["return 'a mark of the solution'" in job for job in jobs]
    assert with_tests == [True, False, True]
    assert with_solution == [False, True, False]
    assert not any(secret in jobs[1] for secret in SECRETS)
    assert all(not program.files and program.argv is None for program in sandbox.programs)


def test_the_detail_shows_no_name_that_the_solution_made_up(grade: Grading, lookup: Task) -> None:
    found = grade(lookup, "def f(key):\n    raise type('Arg_' + key, (Exception,), {})")
    assert found.detail.endswith("the solution raises an exception of its own")


@pytest.mark.parametrize(
    ("solution", "reason"),
    [
        ("def f(:", "does not load (SyntaxError)"),
        ("def g(): pass", "does not load (KeyError)"),
        ("def f(*a): return 1 / 0", "raises ZeroDivisionError"),
        ("import os\ndef f(*a): os._exit(3)", "ends its process"),
        ("def f(*a): return 'x' * 10**7", "answers more than fits"),
        ("def f(*a): return lambda: 0", "raises TypeError"),
    ],
)
def test_the_detail_says_what_went_wrong(
    grade: Grading, lookup: Task, solution: str, reason: str
) -> None:
    assert grade(lookup, solution).detail.endswith(f"the solution {reason}")


def test_a_solution_that_hangs_loses_only_the_answers_it_owes(
    sandbox: Any, make_task: MakeTask
) -> None:
    task = make_task(
        "    assert candidate(1) == 1\n    assert candidate(2) == 2\n", "    return args[0]\n"
    )
    grader = Grader(sandbox, HiddenTests.of(task), Limits(timeout_s=0.7))
    found = grader.grade("def f(n):\n    while n == 2: pass\n    return n")
    assert found == Grade(
        0.5, False, "1 of 2 hidden assertions hold; the solution does not answer in time"
    )


def test_the_score_is_the_share_of_assertions_that_hold(
    grade: Grading, make_task: MakeTask
) -> None:
    check = "    for n in range(10):\n        assert candidate(n) == n\n    assert True, 'not counted'\n"
    task = make_task(check, "    return args[0]\n")
    assert grade(task, "def f(n): return n if n < 7 else -1").score == 0.7


def test_a_change_of_the_arguments_reaches_the_tests(grade: Grading, make_task: MakeTask) -> None:
    check = "    items, table = [3, 1], {}\n    candidate(items, table)\n    assert items == [1, 3]\n    assert table == {'n': 2}\n"
    task = make_task(check, "    args[0].sort(); args[1]['n'] = len(args[0])\n")
    assert grade(task, reference(task)).solved
    assert not grade(task, "def f(items, table): return sorted(items)").solved


def test_an_expected_exception_counts(grade: Grading, make_task: MakeTask) -> None:
    check = """\
    try:
        candidate(-1)
        assert False
    except ValueError:
        pass
    assert candidate(4) == 2
"""
    task = make_task(check, "    if args[0] < 0: raise ValueError\n    return 2\n")
    assert grade(task, reference(task)).solved
    assert not grade(task, "def f(n): return 2").solved
    assert not grade(task, "def f(n):\n    if n < 0: raise KeyError\n    return 2").solved


def test_calls_that_depend_on_answers_are_asked_again(grade: Grading, make_task: MakeTask) -> None:
    task = make_task(
        "    assert candidate(candidate(candidate(2))) == 5\n", "    return args[0] + 1\n"
    )
    assert grade(task, reference(task)).solved
    assert not grade(task, "def f(n): return n + 2").solved


def test_a_solution_that_never_answers_alike_fails(grade: Grading, make_task: MakeTask) -> None:
    task = make_task(
        "    x = 1\n    for _ in range(50): x = candidate(x)\n    assert x\n", "    return 1\n"
    )
    found = grade(task, "import os\ndef f(n): return int.from_bytes(os.urandom(6), 'big')")
    assert (found.solved, found.score) == (False, 0.0)


def test_a_solution_may_keep_state_between_calls(grade: Grading, make_task: MakeTask) -> None:
    task = make_task("    assert [candidate() for _ in range(3)] == [1, 2, 3]\n")
    assert grade(task, "seen = []\ndef f():\n    seen.append(0)\n    return len(seen)").solved


def test_tests_may_draw_random_arguments(grade: Grading, make_task: MakeTask) -> None:
    check = "    import random\n    for _ in range(200):\n        n = random.randrange(10**9)\n        assert candidate(n) == n + 1\n"
    task = make_task(check, "    return args[0] + 1\n")
    assert grade(task, reference(task)).solved


@pytest.mark.parametrize("known", ["    return [args[0]] * 2\n", ""])
def test_a_task_needs_no_known_solution_to_be_graded(
    grade: Grading, make_task: MakeTask, known: str
) -> None:
    check = "    for n in range(100):\n        assert candidate(n) == [n, n]\n    assert len(candidate('x')) == 2\n"
    task = make_task(check, known)
    assert grade(task, "def f(n): return [n, n]").solved
    assert grade(task, "def f(n): return [n]").score == 0.0


def test_imports_and_helpers_of_the_prompt_are_there_for_the_solution(
    grade: Grading, make_task: MakeTask
) -> None:
    prompt = "import math\n\ndef half(n):\n    return n // 2\n\ndef f(n: int) -> int:\n    '''Halve a root.'''\n"
    task = make_task(
        "    assert candidate(64) == half(8)\n", "    return half(math.isqrt(n))\n", prompt
    )
    assert grade(task, "def f(n): return half(math.isqrt(n))").solved


def test_objects_of_a_class_that_both_sides_define_cross(
    grade: Grading, make_task: MakeTask
) -> None:
    prompt = "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n\ndef f(pair):\n    '''Swap.'''\n"
    check = "    found = candidate(Pair(1, [2]))\n    assert (found.a, found.b) == ([2], 1)\n"
    task = make_task(check, "    return Pair(pair.b, pair.a)\n", prompt)
    assert grade(task, reference(task)).solved
    assert not grade(task, "def f(pair): return pair").solved
    assert not grade(
        task, "class Pair:\n    __eq__ = lambda *a: True\ndef f(p): return Pair()"
    ).solved


def test_grading_twice_gives_the_same_grade(grade: Grading, lookup: Task) -> None:
    half_right = "def f(key): return 'zq81-vortex'"
    assert grade(lookup, half_right) == grade(lookup, half_right)


def test_the_harness_is_sent_whole_and_the_job_is_json(
    grade: Grading, lookup: Task, sandbox: Any
) -> None:
    sandbox.programs.clear()
    grade(lookup, reference(lookup))
    assert len({program.code for program in sandbox.programs}) == 1
    assert [json.loads(p.stdin)["role"] for p in sandbox.programs] == [
        "examine",
        "answer",
        "examine",
    ]
