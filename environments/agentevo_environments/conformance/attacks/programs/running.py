"""Attacks on processes and time: each tries to run more, longer or sooner than it may."""

from agentevo_environments.conformance.attacks.attack import (
    ATTACK_LIMITS,
    Attack,
    Evidence,
    program,
)
from agentevo_environments.sandboxes.base import Limits

_KIND = "resources"
_SHORT = Limits(
    **{**{f: getattr(ATTACK_LIMITS, f) for f in ATTACK_LIMITS.__slots__}, "timeout_s": 1.0}
)
_OVERRUN_S = 1.5


def _not_ended_in_time(evidence: Evidence) -> str:
    if evidence.duration_s[0] > _SHORT.timeout_s + _OVERRUN_S:
        return f"it ran for {evidence.duration_s[0]:.1f} s under a limit of {_SHORT.timeout_s} s"
    return "" if evidence.results[0].ending == "timeout" else "no timeout was reported"


def _not_returned(evidence: Evidence) -> str:
    took, limit = evidence.duration_s[0], ATTACK_LIMITS.timeout_s
    return f"the answer took {took:.1f} s" if took > limit + _OVERRUN_S else ""


FORK_BOMB = """
import os, time
forked = 0
try:
    for _ in range(160):
        if os.fork() == 0:
            time.sleep(2)
            os._exit(0)
        forked += 1
except OSError:
    pass
if forked > 60:
    reached(f"{forked} processes at once")
"""

THREAD_BOMB = """
import threading, time
started = 0
try:
    for _ in range(160):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        started += 1
except (RuntimeError, OSError, MemoryError):
    pass
if started > 60:
    reached(f"{started} threads at once")
"""

BUSY = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""

BUSY_IN_C = """
power = 10 ** (10 ** 7)
power ** 97
"""

STOPPED = """
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
"""

HELD_OUTPUT = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(20)
    os._exit(0)
os.wait()
"""

PRIORITY = """
import os
try:
    os.nice(-5)
    reached("a higher priority")
except OSError:
    pass
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    reached("real-time scheduling")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
except OSError:
    pass
"""

RAISED_LIMITS = """
import resource
for name in ("NOFILE", "FSIZE", "NPROC", "CPU"):
    kind = getattr(resource, "RLIMIT_" + name)
    soft, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        continue
    reached(f"no limit on {name}")
"""

ATTACKS = (
    Attack("fork_bomb", _KIND, "fork more processes than allowed", (program(FORK_BOMB),)),
    Attack("thread_bomb", _KIND, "start more threads than allowed", (program(THREAD_BOMB),)),
    Attack(
        "busy_loop",
        _KIND,
        "ignore signals past the time limit",
        (program(BUSY, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "busy_in_c",
        _KIND,
        "hang inside a C function",
        (program(BUSY_IN_C, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "stop_itself",
        _KIND,
        "stop instead of ending",
        (program(STOPPED, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "held_output",
        _KIND,
        "keep the output open after the end",
        (program(HELD_OUTPUT),),
        _not_returned,
    ),
    Attack("priority", _KIND, "run before everything else", (program(PRIORITY),)),
    Attack("raised_limits", _KIND, "take the limits away", (program(RAISED_LIMITS),)),
)
