"""The snippets whose results have not been given out: none lost, none doubled, in their order.

input ──► send ──► sent ──► answer ──► held until all before it are answered ──► results
            ▲        │
            └ again ◄┘ refused, or unanswered when the stream ended
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from tsnd_client.in_flight import NamedPixels
from tsnd_client.messages import StreamResult


@dataclass(slots=True, eq=False)
class _Held:
    """A snippet: to be sent or sent, then its result in the place of its pixels."""

    snippet: NamedPixels | None
    result: StreamResult | None = None


class Unanswered:
    """What has to be kept of a sequence of streams that score one input."""

    def __init__(self, most: int) -> None:
        """Begin with none.

        Args:
            most: So many are held at most, answered or not.
        """
        self._most = most
        # Each of these is in the order of the input.
        self._held: deque[_Held] = deque()
        self._again: deque[_Held] = deque()
        self._refused: deque[_Held] = deque()
        self._sent: deque[_Held] = deque()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def is_full(self) -> bool:
        """Whether no new snippet may be sent before the oldest is answered."""
        return len(self._held) >= self._most

    def send(self, snippet: NamedPixels) -> None:
        """Note a new snippet that is sent now."""
        held = _Held(snippet)
        self._held.append(held)
        self._sent.append(held)

    def send_again(self) -> NamedPixels | None:
        """Take the oldest of those that have to be sent once more; None when there is none."""
        if not self._again:
            return None
        held = self._again.popleft()
        self._sent.append(held)
        return held.snippet

    def answer(self, result: StreamResult) -> Iterator[StreamResult]:
        """Note the result of the oldest one that was sent.

        Yields:
            The results that no other one is missing before.
        """
        held = self._sent.popleft()
        held.snippet, held.result = None, result
        while self._held and (ready := self._held[0].result) is not None:
            self._held.popleft()
            yield ready

    def refuse(self) -> None:
        """Note that the oldest one that was sent has to be sent again."""
        self._refused.append(self._sent.popleft())

    def end_stream(self) -> None:
        """Have all that was sent on this stream and has no result sent again."""
        self._again.extendleft(reversed([*self._refused, *self._sent]))
        self._refused.clear()
        self._sent.clear()

    def withdraw_newest(self) -> None:
        """Forget the newest one, which cannot be sent."""
        self._held.pop()
        self._sent.pop()
