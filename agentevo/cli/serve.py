"""`agentevo serve`: a local model behind an OpenAI-compatible endpoint."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.output import JsonFlag, emit
from agentevo.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from agentevo.models.llama.chat import ChatLlamaEngine

app = typer.Typer()

_LOOPBACK = ("127.0.0.1", "localhost")
_Model = Annotated[
    str, typer.Argument(help="seed, or llamacpp:FILE.gguf?n_ctx=4096&max_sequences=16")
]
_Adapters = Annotated[
    list[Path] | None,
    typer.Option("--adapter", help="LoRA file, served as NAME:ADAPTER; may be given repeatedly."),
]


@app.command()
def serve(
    ctx: typer.Context,
    model: _Model = "seed",
    adapter: _Adapters = None,
    name: Annotated[str, typer.Option(help="What requests call it; empty: the file's name.")] = "",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    api_key: Annotated[
        str, typer.Option(envvar="AGENTEVO_API_KEY", help="Every request must send this key.")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Serve a local model to OpenAI-compatible clients, many requests at once, until Ctrl-C.

    Requests name the model, or NAME:ADAPTER. Answers are greedy unless a request says otherwise.
    Only this machine can connect, unless a key is set and --host is given.

    Example: agentevo serve seed --port 8000
    """
    _check_host(host, api_key)
    uvicorn = _uvicorn()
    from agentevo.models.llama.endpoint import Endpoint, build_app

    chat = _load(model)
    for path in adapter or ():
        chat.engine.model.adapters.load(path)
    endpoint = Endpoint(chat, name or chat.engine.model.file.path.stem, api_key)
    application = build_app(endpoint, hosts=_LOOPBACK if host in _LOOPBACK else ("*",))
    with _listen(host, port) as listening:
        url = f"http://{host}:{listening.getsockname()[1]}/v1"
        human = f"Serving {', '.join(endpoint.names())} at {url}"
        emit(ctx, {"url": url, "models": endpoint.names()}, as_json=as_json, human=human)
        uvicorn.Server(uvicorn.Config(application, log_level="warning")).run(sockets=[listening])


def _check_host(host: str, api_key: str) -> None:
    if host not in _LOOPBACK and not api_key:
        raise ConfigError(
            f"others could reach the host {host!r}; set AGENTEVO_API_KEY, or use 127.0.0.1"
        )


def _uvicorn() -> Any:
    try:
        import starlette  # noqa: F401 (said before a model is loaded)
        import uvicorn
    except ImportError as error:
        raise ModelError('serving needs packages: pip install "agentevo[serve]"') from error
    return uvicorn


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host!r}, port {port} ({error.strerror}); --port 0 takes a free one"
        ) from error


def _load(model: str) -> "ChatLlamaEngine":
    from agentevo.models import init_model
    from agentevo.models.llama.chat import ChatLlamaEngine

    loaded = init_model(model)
    if not isinstance(loaded, ChatLlamaEngine):
        raise ModelError(f"{model!r} is no local model; give seed or llamacpp:FILE.gguf")
    return loaded
