"""`init_model`: from a name such as "scripted:oracle" or "openai:gpt-5-mini" to a model.

Prefixes of our own are in one table; every other `provider:model` goes to LangChain.
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from agentevo.errors import ModelError, ModelOptionError, UnknownModelError
from agentevo.models.source import AnyModel

FORMS = (
    "scripted:oracle (replays known solutions), scripted:wrong, scripted:FILE.json, seed, "
    "llamacpp:FILE.gguf?n_ctx=4096, or provider:model of LangChain, such as openai:gpt-5-mini"
)

EXAMPLES = ("scripted:oracle", "scripted:wrong", "seed", "llamacpp:FILE.gguf", "openai:gpt-5-mini")
_SAMPLING = {"temperature", "max_tokens", "timeout", "max_retries"}


def init_model(spec: str, **options: Any) -> AnyModel:
    """Return the model that `spec` names, ready to be called.

    Args:
        spec: `scripted:oracle`, `scripted:wrong`, `scripted:FILE.json`, `seed`,
            `llamacpp:FILE.gguf?n_ctx=4096&lora=FILE`, or `provider:model` as LangChain's
            `init_chat_model` takes it.
        options: Further arguments of the model, such as `temperature`; None values are left out.

    Raises:
        UnknownModelError: Nothing of that name exists; the message lists the forms.
        ModelError: The model's package or its API key is missing, or it cannot be loaded.
    """
    if not spec:
        raise UnknownModelError(_unknown(spec))
    prefix, _, rest = spec.partition(":")
    given = {name: value for name, value in options.items() if value is not None}
    if prefix in _PREFIXES:
        return _PREFIXES[prefix](rest, given)
    return _from_langchain(spec, given)


def _scripted(rest: str, options: Mapping[str, Any]) -> AnyModel:
    from agentevo.models.replay import ReplaySource, load_script

    if unknown := set(options) - _SAMPLING:
        raise ModelOptionError(
            f"a scripted model takes no option {sorted(unknown)[0]!r}; it replays given answers"
        )
    if rest == "oracle":
        return ReplaySource("oracle")
    if rest == "wrong":
        return ReplaySource("wrong")
    if not rest.endswith(".json"):
        raise UnknownModelError(_unknown(f"scripted:{rest}"))
    return load_script(Path(rest))


def _llamacpp(rest: str, options: Mapping[str, Any]) -> AnyModel:
    if not rest.partition("?")[0]:
        raise UnknownModelError(f"'llamacpp:' names no GGUF file. Known forms: {FORMS}")
    return _local(rest, options)


def _seed(rest: str, options: Mapping[str, Any]) -> AnyModel:
    return _local(rest if rest.startswith("?") else "", options)


def _local(uri: str, options: Mapping[str, Any]) -> AnyModel:
    from agentevo.models.llama.chat import ChatLlamaEngine

    fields = ChatLlamaEngine.model_fields
    own = {name: value for name, value in options.items() if name in fields}
    rest = urlencode({name: value for name, value in options.items() if name not in fields})
    joined = f"{uri}{'&' if '?' in uri else '?'}{rest}" if rest else uri
    return ChatLlamaEngine.from_uri(joined, **own)


_PREFIXES: Mapping[str, Callable[[str, Mapping[str, Any]], AnyModel]] = {
    "scripted": _scripted,
    "llamacpp": _llamacpp,
    "seed": _seed,
}


def _from_langchain(spec: str, options: Mapping[str, Any]) -> AnyModel:
    from langchain.chat_models import init_chat_model

    try:
        model: BaseChatModel = init_chat_model(spec, **options)
    except ImportError as error:
        raise ModelError(f"the model {spec!r} needs a package: {error}") from error
    except Exception as error:  # each provider raises types of its own
        if "model provider" in str(error):
            raise UnknownModelError(_unknown(spec)) from error
        raise ModelError(f"the model {spec!r} cannot be set up: {error}") from error
    _require_key(spec, model)
    return model


def _unknown(spec: str) -> str:
    near = get_close_matches(spec, EXAMPLES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown model {spec!r}{hint} Known forms: {FORMS}"


def _require_key(spec: str, model: BaseChatModel) -> None:
    """Refuse an empty API key now; some providers would fail only at the first call."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if (
            name.endswith("api_key")
            and isinstance(value, SecretStr)
            and not value.get_secret_value()
        ):
            raise ModelError(
                f"the model {spec!r} has no API key; set the environment variable {name.upper()}"
            )
