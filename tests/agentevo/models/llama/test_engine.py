"""The engine against real weights: batching, reuse, limits, cancellation, failure."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from agentevo.errors import ModelError
from agentevo.models.llama.context import Context, ContextShape, Piece
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineClosedError,
    GenerationTimeoutError,
    SchemaError,
)
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.request import Completion, EngineRequest
from agentevo.models.llama.sampling import SamplingOptions
from agentevo.models.llama.sizing import EngineSettings, contexts_of

Ask = Callable[..., Completion]
Make = Callable[..., EngineRequest]
Equal = Callable[[Completion, Completion], bool]
COLORS = ("red", "blue", "green", "white", "black", "gray")
ENDLESS = 'root ::= "a" root'
SERIAL = EngineSettings(max_sequences=1, cache_bytes=0)
ONE_CONTEXT = EngineSettings(contexts=1)


def test_concurrent_answers_equal_serial_ones_up_to_near_ties(
    weights: LlamaModel, make_request: Make, equal_up_to_near_ties: Equal
) -> None:
    asked = [make_request(c, top_logprobs=3) for c in COLORS * 3]
    with LlamaEngine(weights, SERIAL) as engine:
        serial = [engine.submit(r, wait_s=None).result(60) for r in asked[: len(COLORS)]]
    with LlamaEngine(weights) as engine:
        running = [engine.submit(r) for r in asked]
        for i, generation in enumerate(running):
            assert equal_up_to_near_ties(generation.result(60), serial[i % len(COLORS)])


def test_without_flash_attention_batches_and_reuse_change_no_bit(
    weights: LlamaModel, make_request: Make
) -> None:
    asked = [make_request(c, top_logprobs=3) for c in COLORS * 3]
    if rounds_by_batch_size(weights, asked[0].tokens):
        pytest.skip("this processor's matrix kernels round by the size of the batch")
    with LlamaEngine(weights, replace(SERIAL, flash_attention=False)) as engine:
        serial = [engine.submit(r, wait_s=None).result(60) for r in asked[: len(COLORS)]]
    with LlamaEngine(weights, replace(ONE_CONTEXT, flash_attention=False)) as engine:
        done = [g.result(60) for g in [engine.submit(r) for r in asked]]
    assert sum(d.cached_tokens > 0 for d in done) == len(asked) - 1
    assert [d.logprobs for d in done] == [s.logprobs for s in serial * 3]


def rounds_by_batch_size(model: LlamaModel, prompt: Sequence[int]) -> bool:
    context = Context(model, ContextShape(512, 1, 512, 512, 1, flash_attention=False))
    whole = context.decode([Piece(0, 0, prompt, True)])[0].copy()
    context.forget(0)
    for i, token in enumerate(prompt):
        logits = context.decode([Piece(0, i, [token], True)])[0]
    varies = not np.array_equal(whole, logits)
    context.close()
    return varies


def test_near_tie_check_can_fail(
    engine: LlamaEngine, ask: Ask, equal_up_to_near_ties: Equal
) -> None:
    one = ask(engine, "red", top_logprobs=3)
    assert equal_up_to_near_ties(one, one)
    assert not equal_up_to_near_ties(ask(engine, "blue", top_logprobs=3), one)


def test_a_repeated_prompt_is_computed_once(engine: LlamaEngine, ask: Ask) -> None:
    first, second = ask(engine), ask(engine)
    assert (first.cached_tokens, second.cached_tokens) == (0, second.prompt_tokens - 1)
    assert first.text == second.text


def test_samples_of_one_prompt_share_its_computation(
    weights: LlamaModel, make_request: Make
) -> None:
    with LlamaEngine(weights, ONE_CONTEXT) as engine:
        samples = [engine.submit(make_request(temperature=2.0, seed=i)) for i in range(8)]
        done = [s.result(60) for s in samples]
    assert sum(d.prompt_tokens - d.cached_tokens for d in done) <= done[0].prompt_tokens + 7
    assert len({d.text for d in done}) > 1


def test_prompts_with_one_beginning_compute_it_once(
    weights: LlamaModel, make_request: Make
) -> None:
    with LlamaEngine(weights, ONE_CONTEXT) as engine:
        done = [g.result(60) for g in [engine.submit(make_request(c)) for c in COLORS]]
    assert sum(d.cached_tokens > 20 for d in done) == len(COLORS) - 1


def test_cache_of_zero_bytes_reuses_nothing(weights: LlamaModel, ask: Ask) -> None:
    with LlamaEngine(weights, EngineSettings(cache_bytes=0)) as engine:
        assert [ask(engine).cached_tokens for _ in range(2)] == [0, 0]


def test_same_seed_gives_the_same_answer_and_another_seed_another(
    weights: LlamaModel, ask: Ask
) -> None:
    with LlamaEngine(weights, SERIAL) as engine:
        texts = [ask(engine, temperature=1.5, seed=s).text for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    "options", [{"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}], ids=["top_k", "top_p", "min_p"]
)
def test_a_sampler_that_leaves_one_token_is_greedy(
    engine: LlamaEngine, ask: Ask, options: dict[str, float]
) -> None:
    assert ask(engine, temperature=1.0, seed=3, **options).text == ask(engine).text


def test_stop_text_ends_the_answer_and_is_not_in_it(engine: LlamaEngine, ask: Ask) -> None:
    whole = ask(engine).text
    stopped = ask(engine, stop=("nothing", "never said"))
    assert stopped.text == whole[: whole.index("nothing")]
    assert stopped.finish_reason == "stop"


def test_streamed_text_equals_the_answer_and_holds_back_a_possible_stop(
    engine: LlamaEngine, make_request: Make, ask: Ask
) -> None:
    deltas = list(engine.submit(make_request(stop=("nothing",)), stream=True))
    assert "".join(d.text for d in deltas) == ask(engine, stop=("nothing",)).text
    assert [d.is_last for d in deltas] == [False] * (len(deltas) - 1) + [True]


def test_logprobs_are_those_of_the_greedy_choice(engine: LlamaEngine, ask: Ask) -> None:
    answer = ask(engine, top_logprobs=2)
    assert len(answer.logprobs) == len(answer.tokens)
    for entry in answer.logprobs:
        assert entry.top[0] == (entry.token, entry.logprob)
        assert entry.top[1][1] <= entry.logprob <= 0


def test_max_tokens_and_the_context_window_end_an_answer_with_length(
    weights: LlamaModel, ask: Ask
) -> None:
    with LlamaEngine(weights, EngineSettings(n_ctx=80)) as engine:
        assert len(ask(engine, max_tokens=7).tokens) == 7
        full = ask(engine, max_tokens=None)
    assert full.finish_reason == "length"
    assert full.prompt_tokens + len(full.tokens) == 80


def test_prompt_without_room_for_an_answer_is_refused(
    weights: LlamaModel, make_request: Make
) -> None:
    with (
        LlamaEngine(weights, EngineSettings(n_ctx=32)) as engine,
        pytest.raises(ContextOverflowError, match="shorten the conversation"),
    ):
        engine.submit(make_request())


@pytest.mark.parametrize("tokens", [(), (-1,), (10**6,)])
def test_prompt_that_is_no_token_sequence_is_refused(
    engine: LlamaEngine, tokens: tuple[int, ...]
) -> None:
    with pytest.raises(ModelError):
        engine.submit(EngineRequest(tokens))


def test_cancelled_request_ends_early_and_leaves_the_others_alone(
    engine: LlamaEngine, make_request: Make, ask: Ask
) -> None:
    alone = ask(engine, "blue").text
    doomed = engine.submit(make_request(max_tokens=None, grammar=ENDLESS), stream=True)
    other = engine.submit(make_request("blue"))
    for delta in doomed:
        if len(delta.text):
            doomed.cancel()
    assert doomed.result(10).finish_reason == "cancelled"
    assert other.result(60).text == alone
    assert engine.stats()["active"] == 0


def test_cancelled_while_waiting_never_starts(weights: LlamaModel, make_request: Make) -> None:
    with LlamaEngine(weights, SERIAL) as engine:
        first = engine.submit(make_request())
        second = engine.submit(make_request("blue"))
        second.cancel()
        assert second.result(10).tokens == ()
        assert first.result(60).tokens


def test_late_request_fails_with_its_limit(engine: LlamaEngine, make_request: Make) -> None:
    endless = make_request(max_tokens=None, grammar=ENDLESS, timeout_s=0.05)
    with pytest.raises(GenerationTimeoutError, match=r"0\.05 s"):
        engine.submit(endless).result(30)


def test_full_line_refuses_or_lets_the_caller_wait(weights: LlamaModel, make_request: Make) -> None:
    settings = EngineSettings(max_sequences=1, max_waiting=1, cache_bytes=0)
    with LlamaEngine(weights, settings) as engine:
        running = engine.submit(make_request(max_tokens=None, grammar=ENDLESS))
        while engine.stats()["active"] == 0:
            time.sleep(0.001)
        waiting = engine.submit(make_request("blue"))
        with pytest.raises(EngineBusyError, match="send fewer"):
            engine.submit(make_request("green"))
        running.cancel()
        last = engine.submit(make_request("green"), wait_s=30)
        assert waiting.result(60).tokens
        assert last.result(60).tokens


def test_closing_fails_what_is_unfinished_and_frees_the_model(
    model_path: str, make_request: Make
) -> None:
    model = LlamaModel(model_path)
    engine = LlamaEngine(model)
    running = engine.submit(make_request(max_tokens=None, grammar=ENDLESS))
    with pytest.raises(ModelError, match="in use"):
        model.close()
    engine.close()
    with pytest.raises(EngineClosedError):
        running.result(10)
    with pytest.raises(EngineClosedError):
        engine.submit(make_request())
    model.close()


def test_too_small_pool_computes_again_and_answers_the_same(
    weights: LlamaModel, make_request: Make, ask: Ask
) -> None:
    with LlamaEngine(weights, EngineSettings(n_ctx=256, cache_bytes=0)) as engine:
        expected = [ask(engine, c, max_tokens=None).text for c in COLORS]
    small = EngineSettings(n_ctx=256, cache_bytes=0, kv_bytes=256 * weights.kv_bytes_per_token)
    with LlamaEngine(weights, small) as engine:
        assert engine.shape.unified
        running = [engine.submit(make_request(c, max_tokens=None)) for c in COLORS]
        assert [g.result(120).text for g in running] == expected
        assert engine.stats()["preempted"] > 0


def test_several_contexts_answer_alike_and_share_saved_states(
    weights: LlamaModel, make_request: Make, equal_up_to_near_ties: Equal
) -> None:
    asked = [make_request(c, top_logprobs=3) for c in COLORS]
    with LlamaEngine(weights, SERIAL) as engine:
        serial = [engine.submit(r, wait_s=None).result(60) for r in asked]
    with LlamaEngine(weights, EngineSettings(max_sequences=4, contexts=2)) as engine:
        assert engine.shape.sequences == 2
        for _ in range(2):
            done = [generation.result(60) for generation in [engine.submit(r) for r in asked]]
            assert all(map(equal_up_to_near_ties, done, serial))
        assert all(answer.cached_tokens > 0 for answer in done)
        assert engine.stats()["finished"] == 2 * len(asked)
        assert engine.stats()["active"] == engine.stats()["waiting"] == 0
        engine.close()
        with pytest.raises(EngineClosedError, match="closed"):
            engine.submit(asked[0])


def test_a_small_model_takes_a_context_for_every_processor_up_to_four(weights: LlamaModel) -> None:
    processors = os.cpu_count() or 1
    assert contexts_of(weights, EngineSettings()) == min(processors, 4)
    assert contexts_of(weights, EngineSettings(max_sequences=2)) == min(processors, 2)
    assert contexts_of(weights, EngineSettings(max_sequences=1)) == 1
    assert contexts_of(weights, EngineSettings(n_threads=processors)) == 1


def test_every_context_takes_its_share_of_the_requests(
    weights: LlamaModel, make_request: Make
) -> None:
    with LlamaEngine(weights, EngineSettings(max_sequences=2, contexts=2)) as engine:
        endless = make_request(max_tokens=None, grammar=ENDLESS)
        running = [engine.submit(endless) for _ in range(2)]
        deadline = time.monotonic() + 60
        while engine.stats()["active"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        for generation in running:
            generation.cancel()


def test_grammar_binds_every_token(engine: LlamaEngine, ask: Ask) -> None:
    for seed in range(5):
        text = ask(engine, temperature=2.0, seed=seed, grammar='root ::= "<" [a-c]{2,5} ">"').text
        assert text[0] == "<"
        assert text[-1] == ">"
        assert set(text[1:-1]) <= set("abc")


def test_grammar_that_is_no_gbnf_is_refused(engine: LlamaEngine, make_request: Make) -> None:
    with pytest.raises(SchemaError, match="grammar"):
        engine.submit(make_request(grammar="root ::= nothing-of-that-name"))


def test_engines_share_one_copy_of_the_weights(weights: LlamaModel, ask: Ask) -> None:
    with LlamaEngine(weights) as one, LlamaEngine(weights) as two:
        texts: dict[int, str] = {}
        threads = [
            threading.Thread(target=lambda i=i, e=e: texts.update({i: ask(e).text}))
            for i, e in enumerate((one, two))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts[0] == texts[1] != ""


def test_context_that_does_not_fit_in_memory_is_refused_before_it_is_tried(
    weights: LlamaModel,
) -> None:
    with pytest.raises(ModelError, match="MiB are free"):
        LlamaEngine(weights, EngineSettings(cache_bytes=1 << 50))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1},
        {"top_p": 0},
        {"min_p": 2},
        {"top_k": -1},
        {"max_tokens": 0},
        {"stop": ("",)},
    ],
)
def test_option_out_of_range_names_itself_and_the_range(options: dict[str, float]) -> None:
    with pytest.raises(ModelError, match=f"{next(iter(options))} is .*; allowed"):
        SamplingOptions(**options)  # type: ignore[arg-type]
