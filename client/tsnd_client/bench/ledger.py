"""What became of every snippet: counts and durations, whose sums must agree at the end."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tsnd_client.bench.histogram import Histogram
from tsnd_client.urgency import Priority

GIVEN_UP = "CANCELLED"
"""The code of snippets that were sent and not answered when a run's patience was over."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The daemon's account of a snippet that it scored; zeros where it gives none."""

    queue_ns: int = 0
    compute_ns: int = 0
    batch_size: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """A snippet that was not scored, and the name of the gRPC status that says why."""

    code: str


Outcome = Answered | Refused


@dataclass(slots=True, eq=False)
class Account:
    """Snippets of one priority. Durations are in microseconds.

    Attributes:
        due: Those that were to be sent.
        sent: Those that were handed to gRPC.
        answered: Those that came back with scores.
        refused: Those that did not, by status.
        late: Those answered, but longer after they were due than their timeout.
        latency: From when a snippet was due to its scores.
        queue: The daemon's, from acceptance to the start of the execution.
        compute: The daemon's, of the execution.
        batches: Snippets by the size of the batch that they ran in.
        seconds: Latencies by the second in which snippets were due.
    """

    due: int = 0
    sent: int = 0
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    late: int = 0
    latency: Histogram = field(default_factory=Histogram)
    queue: Histogram = field(default_factory=Histogram)
    compute: Histogram = field(default_factory=Histogram)
    batches: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, Histogram] = field(default_factory=dict)

    @property
    def closes(self) -> bool:
        """Whether each snippet that was sent was answered or refused, once."""
        return self.sent == self.answered + self.refused.total() and self.sent <= self.due


@dataclass(slots=True, eq=False)
class Ticket:
    """One message: its snippets are due together.

    Attributes:
        due_ns: When.
        left: Snippets without an outcome.
        account: Where they are counted.
        timeout_ms: After which an answer is late; None is never.
        slot: What its last outcome frees in a closed loop.
    """

    due_ns: int
    left: int
    account: Account
    timeout_ms: float | None = None
    slot: asyncio.Semaphore | None = None


class Ledger:
    """The accounts of a run, by priority; what is due before they begin is forgotten."""

    def __init__(self, *, from_ns: int, until_ns: int) -> None:
        """Open them.

        Args:
            from_ns: When measuring begins, after the warm-up.
            until_ns: When it ends.
        """
        self.from_ns = from_ns
        self.until_ns = until_ns
        self.accounts: dict[Priority, Account] = {}
        self.finished = 0
        self._warm_up = Account()

    def account(self, priority: Priority, due_ns: int) -> Account:
        """Return where a snippet is counted."""
        if due_ns < self.from_ns:
            return self._warm_up
        return self.accounts.setdefault(priority, Account())

    def stop(self, now_ns: int) -> None:
        """End measuring now, if it was to end later."""
        self.until_ns = min(self.until_ns, now_ns)

    def settle(self, ticket: Ticket, outcome: Outcome, now_ns: int) -> None:
        """Note what became of one snippet of a message."""
        ticket.left -= 1
        account = ticket.account
        if isinstance(outcome, Refused):
            account.refused[outcome.code] += 1
        else:
            self._note_answer(account, ticket, outcome, now_ns)
        if ticket.left == 0 and ticket.slot:
            ticket.slot.release()

    def _note_answer(self, account: Account, ticket: Ticket, answer: Answered, now_ns: int) -> None:
        # Throughput is what came while measuring lasted, whenever it was due: an overloaded
        # daemon goes on answering for a while afterwards.
        self.finished += self.from_ns <= now_ns < self.until_ns
        account.answered += 1
        latency_ns = now_ns - ticket.due_ns
        if ticket.timeout_ms is not None and latency_ns > ticket.timeout_ms * 1e6:
            account.late += 1
        account.latency.add(latency_ns // 1000)
        account.queue.add(answer.queue_ns // 1000)
        account.compute.add(answer.compute_ns // 1000)
        account.batches[answer.batch_size] += 1
        second = (ticket.due_ns - self.from_ns) // 1_000_000_000
        account.seconds.setdefault(second, Histogram()).add(latency_ns // 1000)


def merged(accounts: Iterable[Account]) -> Account:
    """Add accounts up."""
    accounts = list(accounts)
    total = Account(
        due=sum(account.due for account in accounts),
        sent=sum(account.sent for account in accounts),
        answered=sum(account.answered for account in accounts),
        late=sum(account.late for account in accounts),
        latency=Histogram().merge(account.latency for account in accounts),
        queue=Histogram().merge(account.queue for account in accounts),
        compute=Histogram().merge(account.compute for account in accounts),
    )
    for account in accounts:
        total.refused.update(account.refused)
        total.batches.update(account.batches)
        for second, latency in account.seconds.items():
            total.seconds.setdefault(second, Histogram()).merge([latency])
    return total
