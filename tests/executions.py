"""Runs batches in executors as the daemon's thread does."""

from collections.abc import Mapping, Sequence

from tsnd_daemon.executors.base import Executor
from tsnd_daemon.snippets import FloatArray, Snippet


def run(executor: Executor, snippets: Sequence[Snippet], slot: int = 0) -> Mapping[str, FloatArray]:
    """Start a batch in a slot and wait for it."""
    executor.start(slot, snippets)
    return executor.finish(slot)
