"""The llama.cpp library, loaded at first use, with its messages kept for our errors.

Every other module of this package reaches C only through `library()`.
"""

import ctypes
import functools
import logging
from collections import deque
from typing import Any, Final

from agentevo.errors import ModelError

_LOG = logging.getLogger("agentevo.llama")
_LEVELS: Final = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.INFO}
_ERROR_LEVEL: Final = 4
_complaints: deque[str] = deque(maxlen=8)


@functools.cache
def library() -> Any:
    """Return the `llama_cpp` module, initialised, its log routed to `logging`.

    Raises:
        ModelError: llama-cpp-python is not installed or its library does not load.
    """
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"llama.cpp cannot be loaded ({error}); install it: pip install llama-cpp-python"
        ) from error
    llama_cpp.llama_log_set(_log_callback(), None)
    llama_cpp.llama_backend_init()
    return llama_cpp


def last_complaint() -> str:
    """Return what llama.cpp last reported as an error, or "no reason given"; forgets it."""
    text = "; ".join(_complaints) or "no reason given"
    _complaints.clear()
    return text


@functools.cache
def _log_callback() -> Any:
    import llama_cpp

    def receive(level: int, text: bytes, _data: object) -> None:
        line = text.decode("utf-8", "replace").strip()
        if not line:
            return
        if level == _ERROR_LEVEL:
            _complaints.append(line)
        _LOG.log(_LEVELS.get(level, logging.DEBUG), "%s", line)

    return llama_cpp.llama_log_callback(receive)


def is_null(pointer: object) -> bool:
    """Say whether a C function returned no object: it may give None or a falsy pointer."""
    return not bool(pointer)


def pointer_array(pointers: list[Any]) -> Any:
    """Return a C array of adapter pointers."""
    kind = library().llama_adapter_lora_p_ctypes
    return (kind * len(pointers))(*pointers)


def float_array(values: list[float]) -> Any:
    """Return a C array of floats."""
    return (ctypes.c_float * len(values))(*values)
