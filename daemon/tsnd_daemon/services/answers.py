"""Notes where the time of answered snippets went, once their results are written.

Results are written in messages, and snippets that came and ran together are mostly answered
together: one note is for all of them.
"""

import time
from dataclasses import dataclass
from typing import Any

from grpc import aio

from tsnd_daemon.serving.served_model import ServedModel
from tsnd_daemon.snippets import Execution
from tsnd_daemon.stages import ModelStages, Run


@dataclass(slots=True, eq=False)
class _Together:
    """Snippets that came and ran together. Of their batch only the times are kept."""

    stages: ModelStages
    received_ns: int
    arrived_ns: int
    begun_ns: int
    ready_ns: int
    decode_ns: int
    start_ns: int
    end_ns: int
    count: int = 1


class Answers:
    """The results of a message that is about to be written; used over and over."""

    def __init__(self, context: "aio.ServicerContext[Any, Any] | None" = None) -> None:
        """Begin.

        Args:
            context: Of the call, which may be part of a client's trace.
        """
        self._parent = "" if context is None else _parent_of(context)
        self._taken = list[_Together]()

    def take(
        self, model: ServedModel, execution: Execution, *, received_ns: int, arrived_ns: int
    ) -> None:
        """Take a snippet into the message.

        Args:
            model: What scored it.
            execution: The batch that it was part of.
            received_ns: When its message began to be read, monotonic.
            arrived_ns: When it was accepted.
        """
        end_ns = execution.end_ns
        if self._taken:
            last = self._taken[-1]
            if last.arrived_ns == arrived_ns and last.end_ns == end_ns:
                last.count += 1
                return
        self._taken.append(
            _Together(
                model.stages, received_ns, arrived_ns, execution.begun_ns, execution.ready_ns,
                execution.decode_ns, execution.start_ns, end_ns,
            )
        )  # fmt: skip

    def note_written(self) -> None:
        """Note all that was taken, which has been written now."""
        written_ns = time.monotonic_ns()
        for each in self._taken:
            run = Run(
                each.received_ns, each.arrived_ns, each.begun_ns, each.ready_ns, each.decode_ns,
                each.start_ns, each.end_ns, written_ns, each.count,
            )  # fmt: skip
            each.stages.note(run, self._parent)
        self._taken.clear()


def _parent_of(context: "aio.ServicerContext[Any, Any]") -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent" and isinstance(value, str):
            return value
    return ""
