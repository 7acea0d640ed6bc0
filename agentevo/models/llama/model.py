"""`LlamaModel`: one GGUF model in memory, its vocabulary and its adapters.

It is loaded once and may back several engines, for example a champion and a challenger that serve
different adapters.
"""

import threading
import weakref
from pathlib import Path
from typing import Any

from agentevo.errors import ModelError
from agentevo.models.llama.adapters import AdapterShelf
from agentevo.models.llama.bindings import is_null, last_complaint, library
from agentevo.models.llama.gate import Gate
from agentevo.models.llama.gguf_file import GgufFile, read_gguf
from agentevo.models.llama.vocabulary import Vocabulary

_KV_BYTES = 2


class LlamaModel:
    """The weights of one GGUF file. Safe to use from several threads.

    Attributes:
        file: Header and content hash of the file.
        vocabulary: Its tokens.
        adapters: The LoRA adapters loaded for it.
        gate: Held shared by whoever decodes, exclusively by whoever changes `adapters`.
    """

    def __init__(self, path: str | Path, *, gpu_layers: int = 0) -> None:
        """Load the model.

        Args:
            path: The GGUF file.
            gpu_layers: Layers computed on a GPU, where llama.cpp was built for one.

        Raises:
            ModelError: The file is missing, damaged, no text generator, or does not fit in memory.
        """
        self.file = _check_model(read_gguf(path))
        lib = library()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self.pointer: Any = lib.llama_model_load_from_file(str(self.file.path).encode(), params)
        if is_null(self.pointer):
            raise ModelError(f"llama.cpp refuses {str(path)!r}: {last_complaint()}")
        self._finalizer = weakref.finalize(self, lib.llama_model_free, self.pointer)
        self._finalizer.atexit = False
        self._engines = 0
        self._lock = threading.Lock()
        self.gate = Gate()
        self.vocabulary = Vocabulary(lib.llama_model_get_vocab(self.pointer))
        self.adapters = AdapterShelf(self.file, self.pointer, self.gate)

    @property
    def name(self) -> str:
        """`general.name` of the file, or the file's stem."""
        return str(self.file.metadata.get("general.name", self.file.path.stem))

    @property
    def trained_ctx(self) -> int:
        """Number of tokens the model was trained on at once."""
        return self.file.count("context_length", 2048)

    @property
    def kv_bytes_per_token(self) -> int:
        """Memory that one token of context takes in the key-value cache."""
        heads = self.file.count("attention.head_count_kv", self.file.count("attention.head_count"))
        size = self.file.count("embedding_length") // max(
            self.file.count("attention.head_count"), 1
        )
        width = self.file.count("attention.key_length", size)
        width += self.file.count("attention.value_length", size)
        return self.file.count("block_count") * heads * width * _KV_BYTES

    @property
    def can_rewind(self) -> bool:
        """Whether a part of a sequence can be forgotten; recurrent models cannot."""
        lib = library()
        return not (
            lib.llama_model_is_recurrent(self.pointer) or lib.llama_model_is_hybrid(self.pointer)
        )

    def acquire(self) -> None:
        """Count an engine that uses the weights.

        Raises:
            ModelError: The model is closed.
        """
        with self._lock:
            if self.pointer is None:
                raise ModelError(f"the model {self.name!r} is closed; load it again")
            self._engines += 1

    def release(self) -> None:
        """Undo one `acquire`."""
        with self._lock:
            self._engines -= 1

    def close(self) -> None:
        """Free the weights and adapters; a second call does nothing.

        Raises:
            ModelError: An engine still uses the model.
        """
        with self._lock:
            if self._engines:
                raise ModelError(f"the model {self.name!r} is in use; close its engines first")
            self.pointer = None
        self._finalizer()


def _check_model(file: GgufFile) -> GgufFile:
    kind = file.metadata.get("general.type", "model")
    if kind != "model" or not file.architecture:
        raise ModelError(f"{str(file.path)!r} is a GGUF file of type {kind!r}, not a model")
    if "token_embd.weight" not in file.shapes or not file.count("block_count"):
        raise ModelError(
            f"{str(file.path)!r} (architecture {file.architecture!r}) is no language model; "
            "give a GGUF file of a text generator such as llama, qwen2 or qwen3"
        )
    return file
