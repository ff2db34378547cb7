"""Which snippets of a video a protocol scores: rules of `tsnd_client.sampling`, by modality."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tsnd_client import sampling


class Rule(StrEnum):
    """How snippets are spread over a video; the name is that of the code that does so."""

    CAFFE = "caffe"
    PYTORCH = "pytorch"


_RULES: dict[Rule, Callable[[int, int, int], list[int]]] = {
    Rule.CAFFE: sampling.tsn_ticks,
    Rule.PYTORCH: sampling.tsn_pytorch_ticks,
}


class SamplingProtocol(Protocol):
    """Chooses the ticks of a video."""

    def ticks(self, images: int, depth: int) -> list[int]:
        """Choose ticks, from 1, for snippets of so many frames or fields."""


@dataclass(frozen=True, slots=True)
class Spread:
    """So many snippets over the whole video: TSN's test protocol.

    Attributes:
        snippets: How many.
        rule: Whose arithmetic; Caffe's is that of the published results.
    """

    snippets: int = sampling.TSN_SNIPPETS
    rule: Rule = Rule.CAFFE

    def __post_init__(self) -> None:
        _RULES[self.rule](1, 1, self.snippets)  # raises where the rule has no answer

    def ticks(self, images: int, depth: int) -> list[int]:
        """Choose ticks; a video without images has none."""
        if not images:
            return []
        # Below 1 there is no file; the one that is next is the first.
        return [max(1, tick) for tick in _RULES[self.rule](images, depth, self.snippets)]


@dataclass(frozen=True, slots=True)
class Dense:
    """A snippet every so many frames, for detectors.

    Attributes:
        interval: Frames from one snippet to the next.
    """

    interval: int = sampling.SSN_INTERVAL

    def ticks(self, images: int, depth: int) -> list[int]:
        """Choose ticks; a video of no more than `depth` images has none."""
        return sampling.dense_ticks(images, self.interval, depth)
