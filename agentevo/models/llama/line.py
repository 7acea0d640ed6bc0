"""`WaitingLine`: requests that wait for a sequence; clients take turns, each in its own order."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from agentevo.models.llama.request import Running


class WaitingLine:
    """A fair queue. Used by one thread."""

    def __init__(self) -> None:
        self._clients: OrderedDict[str, deque[Running]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        """Return how many requests wait."""
        return self._length

    def add(self, request: Running, *, first: bool = False) -> None:
        """Let `request` wait, behind or (`first`) before the others of its client."""
        queue = self._clients.setdefault(request.ask.client, deque())
        if first:
            queue.appendleft(request)
            self._clients.move_to_end(request.ask.client, last=False)
        else:
            queue.append(request)
        self._length += 1

    def in_turn(self) -> Iterator[Running]:
        """Yield the waiting requests in the order in which they should start."""
        queues = [iter(tuple(queue)) for queue in self._clients.values()]
        while queues:
            still = []
            for queue in queues:
                request = next(queue, None)
                if request is not None:
                    yield request
                    still.append(queue)
            queues = still

    def remove(self, request: Running) -> None:
        """Take `request` out; its client goes behind the others."""
        client = request.ask.client
        queue = self._clients[client]
        queue.remove(request)
        self._length -= 1
        if queue:
            self._clients.move_to_end(client)
        else:
            del self._clients[client]
