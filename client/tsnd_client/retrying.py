"""When to try again, and with how much at once: decisions, made of numbers alone."""

from dataclasses import dataclass, replace

from tsnd_client.defaults import DEFAULT_PATIENCE_S

# Beyond so many doublings every wait is the longest one.
_MOST_DOUBLINGS = 32
# By how much at most a wait that the daemon asked for is lengthened, so that its clients do
# not all come back at the same moment.
_SPREAD = 0.25


@dataclass(frozen=True, slots=True)
class Retrying:
    """How to go on when a daemon has no room, or is gone.

    Attributes:
        patience_s: After so long without an answer there is no next try, seconds.
        first_wait_s: The wait after the first failure, seconds; it doubles with every one.
        longest_wait_s: No wait is longer, whatever the daemon asks for, seconds.
    """

    patience_s: float = DEFAULT_PATIENCE_S
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0

    def wait_s(self, failures: int, *, asked_s: float | None, draw: float) -> float:
        """Say how long to wait before the next try, seconds.

        Args:
            failures: Failed tries since the last answer, at least 1.
            asked_s: What the daemon asked for, seconds; at least that, and up to a quarter
                more, is waited. None is exponential back-off with "equal jitter": between
                half of the wait and all of it (M. Brooker, Exponential Backoff And Jitter,
                2015).
            draw: A random number in [0, 1).
        """
        if asked_s is not None:
            return min(asked_s, self.longest_wait_s) * (1 + _SPREAD * draw)
        doubled_s = self.first_wait_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS)
        return min(doubled_s, self.longest_wait_s) * (1 + draw) / 2


@dataclass(frozen=True, slots=True)
class Window:
    """How many snippets may be in flight: additive increase, multiplicative decrease.

    D.-M. Chiu and R. Jain, Analysis of the increase and decrease algorithms for congestion
    avoidance, 1989: of these rules it alone shares a daemon fairly among clients that know
    nothing of one another.

    Attributes:
        size: Snippets; the whole ones count.
        most: It never becomes larger.
    """

    size: float
    most: int

    @property
    def limit(self) -> int:
        """Most snippets that may be in flight."""
        return int(self.size)

    def grown(self) -> "Window":
        """Grow after one answer: by one snippet for each window of them."""
        return replace(self, size=min(self.most, self.size + 1 / self.size))

    def halved(self) -> "Window":
        """Shrink because the daemon had no room."""
        return replace(self, size=max(1.0, self.size / 2))

    def has_outgrown(self, limit: int) -> bool:
        """Say whether a stream that was opened with a smaller window is worth a new one.

        To open one costs a pause, so the window must have doubled, or be as large as it gets.
        """
        return limit < self.limit and self.limit >= min(2 * limit, self.most)
