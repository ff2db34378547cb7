"""Requests that wait to be sent: those that can go together do.

A message costs both sides about as much as a snippet in it, and where pixels are in shared
memory a message is all that is sent. So what comes while one is being sent makes one message,
of several snippets; what comes alone goes alone, at once.
"""

from collections import deque

from tsnd.v1 import snippets_pb2


class Outbox:
    """Requests of one stream, in their order; does no I/O and starts nothing."""

    def __init__(self, most: int) -> None:
        """Begin with none.

        Args:
            most: Most snippets that requests are joined to.
        """
        self._most = most
        self._requests: deque[snippets_pb2.ScoreRequest] = deque()
        self._snippets = 0

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def is_full(self) -> bool:
        """Whether there are as many snippets as go into one message."""
        return self._snippets >= self._most

    def put(self, request: snippets_pb2.ScoreRequest) -> None:
        """Add a request behind the others."""
        self._requests.append(request)
        self._snippets += len(request.snippets)

    def take(self) -> snippets_pb2.ScoreRequest:
        """Take the first one out, with those behind it that fit in.

        Raises:
            IndexError: There is none.
        """
        request = self._requests.popleft()
        count = len(request.snippets)
        # A request without snippets attaches memory, and goes by itself.
        while count and self._requests:
            more = len(self._requests[0].snippets)
            if not more or count + more > self._most:
                break
            request.snippets.extend(self._requests.popleft().snippets)
            count += more
        self._snippets -= count
        return request
