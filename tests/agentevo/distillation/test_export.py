"""What is exported is what was trained; what GGUF cannot hold is refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.distillation.export import AdapterHeader, LoraPair, permute, write_adapter
from agentevo.errors import AdapterError

HEADER = AdapterHeader("llama", heads=2, kv_heads=1, scaling=2.0, base_sha256="ab" * 32)
PAIR = LoraPair(np.ones((4, 8), np.float32), np.arange(32, dtype=np.float32).reshape(8, 4))


def tensors(path: Path) -> dict[str, np.ndarray]:
    import gguf

    return {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}


def test_the_scaling_is_baked_into_b_and_queries_are_permuted(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    layers = {f"model.layers.3.self_attn.{name}_proj": PAIR for name in ("q", "v")}
    write_adapter(path, layers, HEADER)
    written = tensors(path)
    assert np.array_equal(written["blk.3.attn_v.weight.lora_b"], PAIR.b * 2)
    assert np.array_equal(written["blk.3.attn_q.weight.lora_b"], permute(PAIR.b * 2, 2))
    assert not np.array_equal(permute(PAIR.b, 2), PAIR.b)
    assert np.array_equal(written["blk.3.attn_q.weight.lora_a"], PAIR.a)


def test_other_architectures_keep_the_order_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    header = AdapterHeader("qwen3", heads=2, kv_heads=1)
    write_adapter(path, {"model.layers.0.self_attn.q_proj": PAIR}, header)
    assert np.array_equal(tensors(path)["blk.0.attn_q.weight.lora_b"], PAIR.b)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_permuting_only_reorders_rows_within_their_head(heads: int, half: int, width: int) -> None:
    rows = np.arange(heads * 2 * half * width).reshape(heads * 2 * half, width)
    permuted = permute(rows, heads)
    for head in range(heads):
        block = slice(head * 2 * half, (head + 1) * 2 * half)
        assert sorted(map(tuple, permuted[block])) == sorted(map(tuple, rows[block]))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "without layers"),
        ({"model.embed_tokens": PAIR}, "'model.embed_tokens' cannot be adapted"),
        ({"lm_head": PAIR}, "'lm_head' cannot be adapted"),
        ({"model.layers.0.mlp.down_proj": LoraPair(PAIR.a, PAIR.b[:, :2])}, "are no pair"),
        ({"model.layers.0.mlp.down_proj": LoraPair(PAIR.a * np.nan, PAIR.b)}, "not finite"),
    ],
)
def test_what_gguf_cannot_hold_is_refused(
    tmp_path: Path, layers: dict[str, LoraPair], message: str
) -> None:
    with pytest.raises(AdapterError, match=message):
        write_adapter(tmp_path / "a.gguf", layers, HEADER)
    assert not (tmp_path / "a.gguf").exists()
