"""Which optimization profile a batch runs in. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes of an optimization profile, in snippets.

    Attributes:
        index: Its place in the engine.
        min: Smallest.
        opt: The one that it is fastest at.
        max: Largest.
    """

    index: int
    min: int
    opt: int
    max: int

    def rows_for(self, batch_size: int) -> int:
        """Return how many rows a batch takes, which is filled up to the smallest allowed."""
        return max(batch_size, self.min)


def choose_profile(profiles: Sequence[Profile], batch_size: int) -> Profile:
    """Choose the profile that computes the fewest rows, and of those the one tuned nearest.

    Args:
        profiles: Of an engine; one of them is large enough.
        batch_size: Snippets in the batch.
    """
    large_enough = (profile for profile in profiles if profile.max >= batch_size)
    return min(large_enough, key=lambda p: (p.rows_for(batch_size), abs(p.opt - batch_size)))


def most_rows(profiles: Sequence[Profile], max_batch_size: int) -> int:
    """Return how many rows the largest run takes, over all batches up to a size."""
    sizes = range(1, max_batch_size + 1)
    return max(choose_profile(profiles, size).rows_for(size) for size in sizes)


def describe(profiles: Sequence[Profile]) -> str:
    """Write them as `tsn-build inspect` does, such as 1-8(8), 9-32(32)."""
    return ", ".join(f"{p.min}-{p.max}({p.opt})" for p in profiles)
