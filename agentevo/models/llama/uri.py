"""`PATH?n_ctx=4096&lora=FILE`: a local model by one line of text; equal lines share one engine."""

import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from agentevo.errors import ModelError, ModelOptionError, UnknownModelError
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.sampling import SamplingOptions
from agentevo.models.llama.sizing import EngineSettings

_SETTINGS: Final = tuple(field.name for field in fields(EngineSettings))
_SAMPLING: Final[Mapping[str, type]] = {
    "temperature": float, "top_k": int, "top_p": float, "min_p": float, "seed": int,
    "max_tokens": int, "timeout": float,
}  # fmt: skip
_lock = threading.Lock()
_engines: "weakref.WeakValueDictionary[tuple[Any, ...], LlamaEngine]" = (
    weakref.WeakValueDictionary()
)


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A parsed line.

    Attributes:
        path: The GGUF file.
        settings: Of the engine.
        sampling: Options of the chat model.
        loras: Adapter files with their scales.
        gpu_layers: Of the model.
    """

    path: Path
    settings: EngineSettings
    sampling: Mapping[str, Any]
    loras: tuple[tuple[str, float], ...]
    gpu_layers: int = 0


def parse_uri(uri: str) -> ModelUri:
    """Read a line such as "model.gguf?n_ctx=2048&lora=a.gguf&lora=b.gguf:0.5&temperature=0.7".

    Raises:
        ModelOptionError: An option is unknown or has no valid value; the message lists the options.
    """
    path, _, query = uri.partition("?")
    settings: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    loras: list[tuple[str, float]] = []
    gpu_layers = 0
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name == "lora":
            loras.append(_lora(text))
        elif name == "gpu_layers":
            gpu_layers = _number(name, text, int)
        elif name in _SETTINGS:
            settings[name] = _setting(name, text)
        elif name in _SAMPLING:
            sampling[name] = _number(name, text, _SAMPLING[name])
        else:
            known = ", ".join(["lora", "gpu_layers", *_SETTINGS, *_SAMPLING])
            raise ModelOptionError(f"unknown option {name!r} in {uri!r}; allowed: {known}")
    # Refuses what is out of range here, before a run, instead of in every request.
    SamplingOptions(**{name: sampling[name] for name in sampling if name != "timeout"})
    found = Path(path).expanduser() if path else seed_path()
    return ModelUri(found, EngineSettings(**settings), sampling, tuple(loras), gpu_layers)


def shared_engine(uri: ModelUri) -> LlamaEngine:
    """Return the engine of a line, which lives as long as someone holds it.

    Raises:
        UnknownModelError: There is no such file.
        ModelError: It cannot be loaded.
    """
    path, settings = uri.path, uri.settings
    try:
        stamp = path.stat()
    except OSError as error:
        raise UnknownModelError(
            f"no model file at {str(path)!r} ({error.strerror}); give a path"
        ) from error
    key = (path.resolve(), stamp.st_mtime_ns, stamp.st_size, uri.gpu_layers, settings)
    with _lock:
        engine = _engines.get(key)
        if engine is None or engine.is_closed:
            engine = _engines[key] = LlamaEngine(
                LlamaModel(path, gpu_layers=uri.gpu_layers), settings
            )
        return engine


def seed_path() -> Path:
    """Return the file of the seed model that comes with the package.

    Raises:
        ModelError: This installation has none.
    """
    folder = Path(__file__).parents[2] / "seed_model"
    found = sorted(folder.glob("*.gguf"))
    if not found:
        raise ModelError("this installation has no seed model; give the path of a .gguf file")
    return found[-1]


def _lora(text: str) -> tuple[str, float]:
    path, colon, scale = text.rpartition(":")
    if colon and not Path(text).exists():
        return path, _number("lora", scale, float)
    return text, 1.0


def _setting(name: str, text: str) -> Any:
    if name == "flash_attention":
        if text not in ("0", "1"):
            raise ModelOptionError(f"{name} is {text!r}; allowed: 0 (off) or 1 (on)")
        return text == "1"
    return _number(name, text, float if name == "turn_s" else int)


def _number(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        raise ModelOptionError(
            f"{name} is {text!r}; allowed: a number ({kind.__name__})"
        ) from error
