"""A long run under load: no crash, no leak, no deadlock, and the right answers all the way.

AGENTEVO_SOAK_SECONDS (default 5) and AGENTEVO_SOAK_REQUESTS (default 50) set the size; the full
size is 600 seconds with 200 requests at once.
"""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import EngineRequest

SECONDS = float(os.environ.get("AGENTEVO_SOAK_SECONDS", "5"))
REQUESTS = int(os.environ.get("AGENTEVO_SOAK_REQUESTS", "50"))
COLORS = ("red", "blue", "green", "white", "black", "gray")
NEAR_TIE_NATS = 0.1
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 240)]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_many_concurrent_requests_for_a_long_time(
    weights: LlamaModel, make_request: Callable[..., EngineRequest], make_adapter: Any
) -> None:
    adapters = [weights.adapters.load(make_adapter(50 + i, 1.0 + i)).id for i in range(2)]
    sets = [BASE, *(AdapterSet.of({name: 1.0}) for name in adapters)]
    with LlamaEngine(weights) as engine:

        async def ask(color: str, chosen: AdapterSet, **options: Any) -> Any:
            request = make_request(color, adapters=chosen, top_logprobs=3, max_tokens=40, **options)
            return await asyncio.to_thread(engine.submit, request, wait_s=None)

        right = {}
        for color in COLORS:
            for chosen in sets:
                right[color, chosen] = (await ask(color, chosen)).result(60)
        end = time.monotonic() + SECONDS
        random = Random(0)
        wrong: list[Any] = []

        async def client() -> int:
            done = 0
            while time.monotonic() < end or not done:
                color, chosen = random.choice(COLORS), random.choice(sets)
                generation = await ask(color, chosen)
                if random.random() < 0.05:
                    generation.cancel()
                answer = await asyncio.wrap_future(generation.future)
                if answer.finish_reason != "cancelled" and not is_right(
                    answer, right[color, chosen]
                ):
                    wrong.append((color, chosen, answer))
                done += 1
            return done

        warm = asyncio.gather(*(client() for _ in range(REQUESTS)))
        await asyncio.sleep(SECONDS / 2)
        before = resident_mib()
        finished = await warm
        grown = resident_mib() - before
        assert wrong == []
        assert min(finished) > 0
        stats = engine.stats()
        assert stats["failed"] == stats["active"] == stats["waiting"] == 0
        assert stats["cache_bytes"] <= engine.settings.cache_bytes
        assert grown < 64, f"grew by {grown:.0f} MiB in the second half"
        print(f"{sum(finished)} requests, {stats['generated_tokens']} tokens, grew {grown:.1f} MiB")  # noqa: T201


def is_right(answer: Any, right: Any) -> bool:
    for a, b in zip(answer.logprobs, right.logprobs, strict=False):
        if a.token != b.token:
            return bool(b.logprob - dict(b.top).get(a.token, -1e9) < NEAR_TIE_NATS)
        if abs(a.logprob - b.logprob) > NEAR_TIE_NATS:
            return False
    return len(answer.tokens) == len(right.tokens)
