"""Counts what was sent and what it was answered with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

_MOST_FAULTS = 20

OK, HUNG_UP = "OK", "hung up"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that must not be.

    Attributes:
        index: The call; None when it is about the daemon as a whole.
        text: What.
    """

    index: int | None
    text: str


@dataclass(slots=True)
class Tally:
    """What became of all messages.

    Attributes:
        sent: Messages.
        calls: Calls.
        answers: Messages by method and answer: OK, a status, or the status of a result.
        kinds: Messages by how they were made.
        good: Good messages, each of which was answered with the right numbers.
        faults: What must not be.
    """

    sent: int = 0
    calls: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    good: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def has_seen_enough(self) -> bool:
        """Whether more faults would tell nothing new."""
        return len(self.faults) >= _MOST_FAULTS

    def blame(self, index: int | None, text: str) -> None:
        """Note a fault."""
        self.faults.append(Fault(index, text))

    def note(self, method: str, answers: Iterable[str]) -> None:
        """Count the answers to messages of a method."""
        for answer in answers:
            self.answers[method, answer] += 1

    @property
    def answered(self) -> int:
        """Messages that have got an answer, or whose client did not wait for it."""
        return self.answers.total()


def table(tally: Tally) -> str:
    """Write a line for each method: how many of its messages got which answer."""
    lines = [f"{'method':<48}{'messages':>9}  answers"]
    methods = sorted({method for method, _ in tally.answers})
    for method in methods:
        counts = {answer: n for (m, answer), n in tally.answers.items() if m == method}
        by_count = sorted(counts.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{answer} {number}" for answer, number in by_count)
        lines.append(f"{method:<48}{sum(counts.values()):>9}  {shown}")
    kinds = ", ".join(f"{kind} {number}" for kind, number in sorted(tally.kinds.items()))
    lines.append(f"{'all, in ' + str(tally.calls) + ' calls':<48}{tally.sent:>9}  made as: {kinds}")
    return "\n".join(lines)
