"""The typed graph between Caffe and ONNX: layers over values that are written once.

Caffe's blobs can be overwritten in place; here each write makes a new `Value`. The last
one carries the blob's name, because that is what Caffe holds after a forward pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsnd.caffe.net_pb2 import LayerParameter

Dim = int | str
"""A length, or the name of one that is known only at run time (such as the batch "N")."""

Shape = tuple[Dim, ...]

BATCH = "N"
"""Name of the batch dimension, which a graph leaves open if it can."""

Array = npt.NDArray[np.float32] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Value:
    """One array that flows between layers: float32, of this name and shape."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the net.

    Attributes:
        name: Its name in the prototxt.
        type: Its Caffe type.
        parameters: Its settings.
        bottoms: What it reads.
        tops: What it writes.
        blobs: Its weights, in Caffe's order and shapes.
    """

    name: str
    type: str
    parameters: LayerParameter
    bottoms: tuple[Value, ...]
    tops: tuple[Value, ...]
    blobs: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole net under TEST rules, layers in execution order.

    Attributes:
        name: The net's name.
        source: The prototxt.
        inputs: What a caller feeds.
        layers: The layers that compute something.
        blobs: For each Caffe blob, the value it holds after a forward pass.
        outputs: Caffe's net outputs, that is blobs which no layer reads.
    """

    name: str
    source: Path
    inputs: tuple[Value, ...]
    layers: tuple[Layer, ...]
    blobs: Mapping[str, Value]
    outputs: tuple[str, ...]

    def consumers(self) -> dict[str, list[Layer]]:
        """Return the layers that read each value, by the value's name."""
        readers: dict[str, list[Layer]] = {}
        for layer in self.layers:
            for bottom in layer.bottoms:
                readers.setdefault(bottom.name, []).append(layer)
        return readers

    def needed_for(self, blobs: tuple[str, ...]) -> Iterator[Layer]:
        """Yield, in execution order, the layers that these blobs depend on."""
        wanted = {self.blobs[blob].name for blob in blobs}
        kept: list[Layer] = []
        for layer in reversed(self.layers):
            if not wanted.isdisjoint(top.name for top in layer.tops):
                kept.append(layer)
                wanted.update(bottom.name for bottom in layer.bottoms)
        yield from reversed(kept)
