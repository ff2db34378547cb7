"""Which of a model's versions are served; pure values and functions."""

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VersionPolicy:
    """The newest so many versions, certain ones, or (both None) all.

    Attributes:
        latest: How many of the newest.
        specific: Which ones; those that are not there are ignored.
    """

    latest: int | None = None
    specific: frozenset[int] | None = None

    def choose(self, versions: Iterable[int]) -> list[int]:
        """Return those of some versions that are served, in ascending order."""
        found = sorted(versions)
        if self.latest is not None:
            return found[-self.latest :]
        if self.specific is not None:
            return [version for version in found if version in self.specific]
        return found

    def __str__(self) -> str:
        if self.latest is not None:
            return f"latest:{self.latest}"
        if self.specific is not None:
            return f"specific:{','.join(map(str, sorted(self.specific)))}"
        return "all"


def parse_version_policy(text: str) -> VersionPolicy:
    """Read `latest`, `latest:N`, `all` or `specific:N,N`.

    Raises:
        ValueError: When it is none of them.
    """
    match = re.fullmatch(r"latest(?::([1-9]\d*))?|(all)|specific:([1-9]\d*(?:,[1-9]\d*)*)", text)
    if match is None:
        raise ValueError("expected latest:N, all or specific:N,N with versions from 1")
    latest, everything, specific = match.groups()
    if everything:
        return VersionPolicy()
    if specific:
        return VersionPolicy(specific=frozenset(map(int, specific.split(","))))
    return VersionPolicy(latest=int(latest or 1))
