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
from agentevo.models.llama.request import Completion, EngineRequest
from agentevo.models.llama.sizing import EngineSettings

SECONDS = float(os.environ.get("AGENTEVO_SOAK_SECONDS", "5"))
REQUESTS = int(os.environ.get("AGENTEVO_SOAK_REQUESTS", "50"))
COLORS = ("red", "blue", "green", "white", "black", "gray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(SECONDS + 240)]


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def test_many_concurrent_requests_for_a_long_time(
    weights: LlamaModel,
    make_request: Callable[..., EngineRequest],
    distilled: dict[str, AdapterSet],
    equal_up_to_near_ties: Callable[[Completion, Completion], bool],
) -> None:
    asked = {
        (color, chosen): make_request(color, None, adapters=chosen, top_logprobs=3, max_tokens=40)
        for color in COLORS
        for chosen in (BASE, *distilled.values())
    }
    with LlamaEngine(weights, EngineSettings(max_sequences=1, cache_bytes=0)) as alone:
        right = {key: alone.submit(request).result(60) for key, request in asked.items()}
    with LlamaEngine(weights) as engine:
        end = time.monotonic() + SECONDS
        random = Random(0)
        wrong: list[Any] = []

        async def client() -> int:
            done = 0
            while time.monotonic() < end or not done:
                key = random.choice(list(asked))
                generation = await asyncio.to_thread(engine.submit, asked[key], wait_s=None)
                if random.random() < 0.05:
                    generation.cancel()
                answer = await asyncio.wrap_future(generation.future)
                whole = answer.finish_reason != "cancelled"
                if whole and not equal_up_to_near_ties(answer, right[key]):
                    wrong.append((key, answer))
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
