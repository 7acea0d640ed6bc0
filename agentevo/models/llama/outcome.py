"""Handing an answer, a part of it, or a failure to whoever waits for it."""

from agentevo.models.llama.request import Delta, FinishReason, Running


def deliver(request: Running, new: str, reason: FinishReason | None = None) -> None:
    """Send new text; with a `reason`, finish the request."""
    if reason is not None:
        new += request.text.finish()
    logprobs = tuple(request.unsent)
    request.unsent.clear()
    completion = None if reason is None else request.completion(reason)
    _send(request, Delta(text=new, logprobs=logprobs, completion=completion))
    if completion is not None:
        request.future.set_result(completion)


def fail(request: Running, error: BaseException) -> None:
    """Finish the request with an error."""
    _send(request, Delta(error=error))
    request.future.set_exception(error)


def _send(request: Running, delta: Delta) -> None:
    if request.listener is None:
        return
    try:
        request.listener(delta)
    except RuntimeError:  # the listener's event loop is closed: nobody is left to read
        request.listener = None
        request.cancelled = True
