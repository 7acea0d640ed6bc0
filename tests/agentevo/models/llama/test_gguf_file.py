"""Files that are no usable model are errors, never a crash of the process."""

import contextlib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agentevo.errors import ModelError
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.gguf_file import GgufError, read_gguf
from agentevo.models.llama.model import LlamaModel


def test_header_tells_architecture_hash_and_shapes(model_path: Path) -> None:
    file = read_gguf(model_path)
    assert file.architecture == "llama"
    assert len(file.sha256) == 64
    assert file.shapes["token_embd.weight"] == (
        file.count("vocab_size"),
        file.count("embedding_length"),
    )


def test_missing_file_and_folder_are_errors(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="no model file"):
        LlamaModel(tmp_path / "none.gguf")
    with pytest.raises(GgufError, match="is not a file"):
        LlamaModel(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.001, 0.005, 0.3, 0.9, 0.9999])
def test_truncated_file_is_an_error(model_path: Path, tmp_path: Path, share: float) -> None:
    data = model_path.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"complete GGUF|cut off"):
        LlamaModel(path)


def test_damaged_header_never_crashes(model_path: Path, tmp_path: Path) -> None:
    data = model_path.read_bytes()
    random = Random(0)
    for i in range(40):
        broken = bytearray(data)
        for _ in range(4):
            broken[random.randrange(2000)] = random.randrange(256)
        path = tmp_path / f"{i}.gguf"
        path.write_bytes(broken)
        with contextlib.suppress(ModelError):
            LlamaModel(path).close()


def test_foreign_architecture_is_an_error(
    tmp_path: Path, write_model: Any, sizes: Any, random_weights: Any
) -> None:
    path = tmp_path / "foreign.gguf"
    write_model(path, "frobnicator", random_weights("llama"), sizes)
    with pytest.raises(ModelError, match="unknown model architecture"):
        LlamaModel(path)


def test_adapter_file_is_no_model(make_adapter: Any) -> None:
    with pytest.raises(ModelError, match="type 'adapter'"):
        LlamaEngine.open(make_adapter(30))


def test_vision_part_is_no_model(tmp_path: Path) -> None:
    import gguf

    path = tmp_path / "mmproj.gguf"
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="mmproj"):
        LlamaModel(path)
