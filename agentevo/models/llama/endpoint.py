"""`build_app`: a local model behind an OpenAI-compatible endpoint, an ASGI application.

`/v1/models` lists the base model and, as `base:adapter`, each adapter that is loaded; a request
names one of them, and none is ever answered with another one's weights. `/health` tells the load.
"""

import asyncio
import hmac
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

from langchain_core.messages import AIMessageChunk, BaseMessage
from pydantic import ValidationError

from agentevo.errors import AdapterError, ModelError, UnknownModelError
from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.models.llama.errors import (
    ContextOverflowError,
    EngineClosedError,
    GenerationTimeoutError,
)
from agentevo.models.llama.wire import ChatRequest, Reply

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

LONGEST_BODY_BYTES: Final = 8 << 20
_GONE: Final = 499
_STATUS: Final[tuple[tuple[type[Exception], int, str], ...]] = (
    (UnknownModelError, 404, "model_not_found"),
    (ContextOverflowError, 400, "context_length_exceeded"),
    (GenerationTimeoutError, 504, "timeout"),
    (EngineClosedError, 503, "engine_closed"),
)


class _RefusedError(Exception):
    """A request that the endpoint does not take, with the status that says so."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class Endpoint:
    """Answers the requests of one served model."""

    def __init__(self, model: ChatLlamaEngine, name: str, api_key: str = "") -> None:
        """Serve `model` under `name`; a key, if there is one, must come with every request."""
        self._model = model
        self._name = name
        self._api_key = api_key.encode()

    def names(self) -> list[str]:
        """Return what a request can ask for."""
        loaded = self._model.engine.model.adapters.loaded()
        return [self._name, *(f"{self._name}:{adapter.name}" for adapter in loaded)]

    async def list_models(self, _request: "Request") -> "Response":
        """GET /v1/models."""
        from starlette.responses import JSONResponse

        listed = [{"id": name, "object": "model", "owned_by": "agentevo"} for name in self.names()]
        return JSONResponse({"object": "list", "data": listed})

    async def health(self, _request: "Request") -> "Response":
        """GET /health."""
        from starlette.responses import JSONResponse

        return JSONResponse({"status": "ok", **self._model.engine.stats()})

    async def complete(self, request: "Request") -> "Response":
        """POST /v1/chat/completions."""
        from starlette.responses import JSONResponse, Response, StreamingResponse

        asked = _parse(await _body(request))
        adapters = self._adapters(asked.model)
        arguments = {**asked.arguments(), "adapters": adapters}
        messages = asked.conversation()
        key = self._model.engine.cache_key(self._model.engine.adapter_set(adapters))
        reply = Reply(asked.model, f"fp_{key.hex()[:16]}")
        if asked.stream:
            events = self._events(reply, messages, arguments, usage=asked.wants_usage)
            # What can be refused is refused before the status of the stream is sent.
            first = await anext(events)
            return StreamingResponse(_joined(first, events), media_type="text/event-stream")
        answer = self._model.agenerate([messages], **arguments)
        result = await _unless_gone(request, answer)
        if result is None:
            return Response(status_code=_GONE)
        return JSONResponse(reply.completion([g.message for g in result.generations[0]]))

    async def _events(
        self, reply: Reply, messages: list[BaseMessage], arguments: dict[str, Any], *, usage: bool
    ) -> AsyncIterator[str]:
        opened = called = False
        stream = cast("AsyncGenerator[AIMessageChunk]", self._model.astream(messages, **arguments))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                if not opened:
                    yield _event(reply.first_chunk())
                opened = True
                called = called or any(c["name"] for c in chunk.tool_call_chunks)
                for made in reply.chunks(chunk, called=called, usage=usage):
                    yield _event(made)
        yield "data: [DONE]\n\n"

    def _adapters(self, name: str) -> dict[str, float]:
        if name == self._name:
            return {}
        unknown = f"no model {name!r} here; there are: {', '.join(self.names())}"
        adapter = name.removeprefix(f"{self._name}:")
        if adapter == name:
            raise UnknownModelError(unknown)
        try:
            return {self._model.engine.model.adapters.find(adapter).id: 1.0}
        except AdapterError as error:
            raise UnknownModelError(unknown) from error

    def check_key(self, request: "Request") -> None:
        """Refuse a request without the right key."""
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.encode(), self._api_key)
        if self._api_key and not (kind.lower() == "bearer" and right):
            raise _RefusedError(
                401, "invalid_api_key", "send the key as `Authorization: Bearer KEY`"
            )


def build_app(endpoint: Endpoint, *, hosts: Sequence[str] = ("*",)) -> "Starlette":
    """Return the application.

    Args:
        endpoint: What answers.
        hosts: Names under which the server may be addressed, so that a web page cannot reach a
            local server by a name of its own.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Route

    handlers = (
        ("/v1/models", endpoint.list_models, "GET"),
        ("/v1/chat/completions", endpoint.complete, "POST"),
        ("/health", endpoint.health, "GET"),
    )
    routes = [
        Route(path, _guarded(handler, endpoint.check_key), methods=[method])
        for path, handler, method in handlers
    ]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))]
    )


Handler = Callable[["Request"], Awaitable["Response"]]


def _guarded(handler: Handler, check: Callable[["Request"], None]) -> Handler:
    """Return the handler with its errors in the form that OpenAI's clients know."""

    async def guarded(request: "Request") -> "Response":
        from starlette.responses import JSONResponse

        try:
            check(request)
            return await handler(request)
        except (ModelError, AdapterError, ValueError, _RefusedError) as error:
            status, code = _status(error)
            kind = (
                "invalid_request_error"
                if status < HTTPStatus.INTERNAL_SERVER_ERROR
                else "server_error"
            )
            body = {"message": str(error), "type": kind, "code": code, "param": None}
            return JSONResponse({"error": body}, status_code=status)

    return guarded


def _status(error: Exception) -> tuple[int, str]:
    if isinstance(error, _RefusedError):
        return error.status, error.code
    found = (pair[1:] for pair in _STATUS if isinstance(error, pair[0]))
    return next(found, (400, "invalid_request"))


async def _body(request: "Request") -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise _RefusedError(415, "not_json", f"the content type is {kind!r}; send application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY_BYTES:
            limit = LONGEST_BODY_BYTES >> 20
            raise _RefusedError(
                413, "too_long", f"the request is longer than {limit} MiB; send less"
            )
    return body


def _parse(body: bytes) -> ChatRequest:
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        known = f"; allowed: {', '.join(ChatRequest.model_fields)}"
        hint = known if first["type"] == "extra_forbidden" else ""
        raise ModelError(f"{where}: {first['msg']}{hint}") from error


async def _unless_gone(request: "Request", answer: Awaitable[Any]) -> Any:
    """Return the answer, or None as soon as the client has hung up."""
    work = asyncio.ensure_future(answer)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _joined(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        yield first
        async for event in rest:
            yield event
    except ModelError as error:
        body = {"message": str(error), "type": "server_error", "code": _status(error)[1]}
        yield _event({"error": body})


def _event(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
