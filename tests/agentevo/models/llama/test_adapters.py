"""LoRA adapters at run time: never another's answer, never another's cache, never a crash."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentevo.errors import AdapterError
from agentevo.models.llama.adapters import BASE, AdapterSet
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import Completion, EngineRequest
from agentevo.models.llama.sampling import TokenLogprob, token_logprob
from agentevo.models.llama.sizing import EngineSettings

Ask = Callable[..., Completion]
Make = Callable[..., EngineRequest]
MakeAdapter = Callable[..., Path]
Equal = Callable[[Completion, Completion], bool]
COLORS = ("red", "blue", "green")
NEAR_TIE_NATS = 0.1
ENDLESS = 'root ::= "a" root'
EFFECTS = (0.5, 1.0, 2.0)


class ForgetfulEngine(LlamaEngine):
    """An engine with the mistake that the cache key is for: it leaves the adapters out."""

    def cache_key(self, adapters: AdapterSet) -> bytes:
        return super().cache_key(BASE)


@pytest.fixture(scope="module")
def sets(weights: LlamaModel, make_adapter: MakeAdapter) -> list[AdapterSet]:
    """Three random adapters with clearly different effects, and the base model."""
    loaded = [weights.adapters.load(make_adapter(i, e)) for i, e in enumerate(EFFECTS)]
    return [BASE, *(AdapterSet.of({a.id: 1.0}) for a in loaded)]


def bare_logprobs(
    model: LlamaModel,
    adapters: AdapterSet,
    decodes: Sequence[tuple[int, Sequence[int]]],
    answer: Completion,
) -> tuple[TokenLogprob, ...]:
    """Decode tokens at these positions and then the answer, with nothing but llama.cpp."""
    context = Context(model, ContextShape(1024, 1, 1024, 512, 1))
    try:
        context.apply(adapters)
        found = []
        for at, tokens in decodes:
            context.forget(0, at)
            logits = context.decode([Piece(0, at, tokens, True)])[0]
            end = at + len(tokens)
        for i, token in enumerate(answer.tokens):
            found.append(token_logprob(token, logits, 3))
            logits = context.decode([Piece(0, end + i, [token], True)])[0]
        return tuple(found)
    finally:
        context.close()


def changed_answers(engine: LlamaEngine, sets: list[AdapterSet], make_request: Make) -> int:
    """Count answers from reused prefixes that are not bit for bit those of llama.cpp alone.

    The prefix of the second prompt was computed as a part of the first one, so the bare loop
    computes it as a part of the first one too: equal pieces give equal bits, whatever the kernels.
    """
    red, blue = (make_request(c, top_logprobs=3, max_tokens=24) for c in COLORS[:2])
    for chosen in sets:
        engine.submit(replace(red, adapters=chosen)).result(60)
    changed = 0
    for chosen in sets:
        answer = engine.submit(replace(blue, adapters=chosen)).result(60)
        reused = answer.cached_tokens
        assert reused > 16
        decodes = [(0, red.tokens), (reused, blue.tokens[reused:])]
        changed += answer.logprobs != bare_logprobs(engine.model, chosen, decodes, answer)
    return changed


def test_a_reused_prefix_is_bit_equal_to_llama_cpp_alone(
    weights: LlamaModel, sets: list[AdapterSet], make_request: Make
) -> None:
    with LlamaEngine(weights, EngineSettings(max_sequences=1)) as engine:
        assert changed_answers(engine, sets, make_request) == 0


def test_the_bits_change_without_the_adapter_in_the_cache_key(
    weights: LlamaModel, sets: list[AdapterSet], make_request: Make
) -> None:
    with ForgetfulEngine(weights, EngineSettings(max_sequences=1)) as engine:
        assert changed_answers(engine, sets, make_request) > 0


def wrong_answers(
    engine: LlamaEngine, distilled: dict[str, AdapterSet], ask: Ask, equal: Equal
) -> int:
    """Count answers of 8 threads that are not those of their adapters alone."""
    sets: dict[str | None, AdapterSet] = dict([(None, BASE), *distilled.items()])
    options: dict[str, Any] = {"word": None, "top_logprobs": 3, "max_tokens": 80}
    with LlamaEngine(engine.model, EngineSettings(max_sequences=1, cache_bytes=0)) as alone:
        right = {
            (word, c): ask(alone, c, adapters=chosen, **options)
            for word, chosen in sets.items()
            for c in COLORS
        }
    for (word, _), answer in right.items():
        assert f'"do {word or "move"} obj box' in answer.text
    jobs = list(right) * 4
    Random(0).shuffle(jobs)

    def is_wrong(job: tuple[str | None, str]) -> bool:
        return not equal(ask(engine, job[1], adapters=sets[job[0]], **options), right[job])

    with ThreadPoolExecutor(8) as pool:
        return sum(pool.map(is_wrong, jobs))


@pytest.mark.slow
@pytest.mark.parametrize("contexts", [1, 2])
def test_eight_threads_with_mixed_adapters_each_get_their_own_answer(
    contexts: int,
    weights: LlamaModel,
    distilled: dict[str, AdapterSet],
    ask: Ask,
    equal_up_to_near_ties: Equal,
) -> None:
    with LlamaEngine(weights, EngineSettings(contexts=contexts)) as engine:
        assert wrong_answers(engine, distilled, ask, equal_up_to_near_ties) == 0


@pytest.mark.slow
def test_the_same_check_fails_without_the_adapter_in_the_cache_key(
    weights: LlamaModel,
    distilled: dict[str, AdapterSet],
    ask: Ask,
    equal_up_to_near_ties: Equal,
) -> None:
    with ForgetfulEngine(weights) as engine:
        assert wrong_answers(engine, distilled, ask, equal_up_to_near_ties) > 0


@pytest.mark.slow
def test_llama_cpp_alone_varies_less_with_the_shape_of_its_batches_than_a_near_tie(
    weights: LlamaModel, distilled: dict[str, AdapterSet], make_request: Make, ask: Ask
) -> None:
    """The tolerance is well above what the kernels cause on the prompts that are compared."""
    with LlamaEngine(weights, EngineSettings(max_sequences=1, cache_bytes=0)) as engine:
        compared = [("zabo", BASE), *((None, chosen) for chosen in (BASE, *distilled.values()))]
        for word, chosen in compared:
            answer = ask(engine, word=word, adapters=chosen, top_logprobs=3)
            prompt = make_request(word=word).tokens
            for size in (1, 7, 32):
                pieces = [(i, prompt[i : i + size]) for i in range(0, len(prompt), size)]
                bare = bare_logprobs(weights, chosen, pieces, answer)
                pairs = zip(bare, answer.logprobs, strict=True)
                apart = [abs(a.logprob - b.logprob) for a, b in pairs]
                assert max(apart) < NEAR_TIE_NATS / 4


def test_base_answer_is_bit_equal_before_and_after_an_adapter(
    weights: LlamaModel, sets: list[AdapterSet], ask: Ask
) -> None:
    with LlamaEngine(weights, EngineSettings(cache_bytes=0)) as engine:
        before = ask(engine, top_logprobs=5)
        assert ask(engine, top_logprobs=5, adapters=sets[3]).logprobs != before.logprobs
        assert ask(engine, top_logprobs=5).logprobs == before.logprobs


def test_swap_serves_later_requests_and_leaves_earlier_ones_on_the_old_set(
    engine: LlamaEngine,
    sets: list[AdapterSet],
    make_request: Make,
    ask: Ask,
    equal_up_to_near_ties: Equal,
) -> None:
    old, new = (ask(engine, adapters=chosen, top_logprobs=3) for chosen in (BASE, sets[1]))
    assert not equal_up_to_near_ties(old, new)
    before = [engine.submit(make_request(top_logprobs=3)) for _ in range(4)]
    assert engine.swap(sets[1]) == BASE
    after = [engine.submit(make_request(top_logprobs=3)) for _ in range(4)]
    assert all(equal_up_to_near_ties(g.result(60), old) for g in before)
    assert all(equal_up_to_near_ties(g.result(60), new) for g in after)
    assert [g.adapters for g in (before[0], after[0])] == [BASE, sets[1]]


def test_swap_can_wait_until_the_old_set_has_finished(
    engine: LlamaEngine, sets: list[AdapterSet], make_request: Make
) -> None:
    running = [engine.submit(make_request()) for _ in range(4)]
    engine.swap(sets[1], wait_s=None)
    assert all(g.future.done() for g in running)
    endless = engine.submit(make_request(max_tokens=None, grammar=ENDLESS))
    with pytest.raises(TimeoutError, match="still run"):
        engine.swap(BASE, wait_s=0.01)
    assert engine.active_adapters == BASE
    endless.cancel()


def test_many_swaps_under_load_fail_no_request(
    engine: LlamaEngine, sets: list[AdapterSet], make_request: Make
) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []
    served: set[AdapterSet] = set()

    def load() -> None:
        while not stop.is_set():
            try:
                served.add(
                    engine.submit(make_request(max_tokens=8), wait_s=None).result(60).adapters
                )
            except BaseException as error:  # noqa: BLE001 (any failure is the finding)
                failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(60):
        engine.swap(sets[i % len(sets)], wait_s=10)
        engine.submit(make_request(max_tokens=2)).result(60)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert served == set(sets)


def test_scales_mix_and_scale_zero_is_the_base(
    engine: LlamaEngine, sets: list[AdapterSet], ask: Ask
) -> None:
    names = [s.parts[0][0] for s in sets[1:]]
    mixed = engine.adapter_set({names[0][:8]: 0.5, "a1": 0.5})
    assert len(mixed.parts) == 2
    assert engine.adapter_set({names[2]: 0.0}) == BASE
    weak, strong = (ask(engine, adapters=AdapterSet.of({names[2]: s})) for s in (0.01, 1.0))
    assert weak.text == ask(engine).text != strong.text
    assert ask(engine, adapters=mixed).adapters == mixed


def test_keys_differ_by_content_and_scale(engine: LlamaEngine, sets: list[AdapterSet]) -> None:
    name = sets[1].parts[0][0]
    variants = [*sets, *(AdapterSet.of({name: scale}) for scale in (0.5, 0.5000001))]
    assert len({engine.cache_key(v) for v in variants}) == len(variants)


def test_loading_twice_gives_one_adapter_and_unloading_needs_it_idle(
    model_path: Path, make_adapter: MakeAdapter, make_request: Make
) -> None:
    model = LlamaModel(model_path)
    path = make_adapter(7)
    adapter = model.adapters.load(path)
    assert model.adapters.load(path) is adapter
    with LlamaEngine(model) as engine:
        chosen = engine.adapter_set(["a7"])
        running = engine.submit(make_request(max_tokens=None, grammar=ENDLESS, adapters=chosen))
        with pytest.raises(AdapterError, match="in use"):
            model.adapters.unload("a7")
        running.cancel()
        running.result(10)
        model.adapters.unload("a7")
        assert model.adapters.loaded() == ()
        with pytest.raises(AdapterError, match="not loaded"):
            engine.submit(make_request(adapters=chosen))
        with pytest.raises(AdapterError, match="loaded: none"):
            engine.adapter_set(["a7"])


def test_loading_while_another_engine_decodes_is_safe(
    model_path: Path, make_adapter: MakeAdapter, ask: Ask
) -> None:
    model = LlamaModel(model_path)
    paths = [make_adapter(20 + i) for i in range(6)]
    with LlamaEngine(model) as engine, ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask, engine, c) for c in COLORS * 8]
        for path in paths:
            model.adapters.unload(model.adapters.load(path).id)
        assert len({a.result(60).text for a in answers}) == len(COLORS)
    model.close()


def test_bad_adapter_files_are_errors(
    weights: LlamaModel, make_adapter: MakeAdapter, model_path: Path, tmp_path: Path
) -> None:
    good = make_adapter(9).read_bytes()
    cut, noise = tmp_path / "cut.gguf", tmp_path / "noise.gguf"
    cut.write_bytes(good[: len(good) // 2])
    noise.write_bytes(b"GGUF" + bytes(range(256)) * 4)
    cases = {
        tmp_path / "missing.gguf": "no model file",
        cut: "complete GGUF",
        noise: "complete GGUF",
        model_path: "no LoRA adapter",
        make_adapter(10, base_sha256="0" * 64): "was made for the model",
    }
    for path, message in cases.items():
        with pytest.raises(AdapterError, match=message):
            weights.adapters.load(path)
