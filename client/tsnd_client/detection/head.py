"""SSN's head as it is served: one linear layer that scores a single tick.

In training, completeness and regression see the pooled features of all parts of a proposal
side by side. Since pooling and layer are both linear, the layer's columns can be cut apart by
part, applied to every tick once, and pooled afterwards. That layer gives [activity | completeness
of each part | regression of each part], see `Head`.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd_client.detection.arrays import Floats
from tsnd_client.detection.pyramid import Pyramid
from tsnd_client.errors import DetectionError


@dataclass(frozen=True, slots=True)
class RegressionStatistics:
    """How regression targets were normalised in training; a checkpoint's `reg_stats`.

    Attributes:
        mean_location: Mean of the relative shift of a centre.
        mean_duration: Mean of the logarithm of the change of a length.
        std_location: Standard deviation of the former.
        std_duration: Standard deviation of the latter.
    """

    mean_location: float = 0.0
    mean_duration: float = 0.0
    std_location: float = 1.0
    std_duration: float = 1.0

    def restore(self, normalised: Floats) -> Floats:
        """Undo the normalisation of [..., 2], location and duration."""
        std = np.array([self.std_location, self.std_duration])
        restored: Floats = normalised * std + np.array([self.mean_location, self.mean_duration])
        return restored


@dataclass(frozen=True, slots=True)
class Head:
    """What the outputs of a tick mean.

    With K classes and P parts a tick has K + 1 activity scores, background first, then P times
    K completeness scores, then P times K pairs of location and duration.

    Attributes:
        classes: K, without the background.
        pyramid: Its parts.
        regression: How to restore location and duration; None where there are none.

    Raises:
        DetectionError: There is no class.
    """

    classes: int
    pyramid: Pyramid = field(default_factory=Pyramid)
    regression: RegressionStatistics | None = field(default_factory=RegressionStatistics)

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise DetectionError(f"a head needs at least 1 class, got {self.classes}.")

    @property
    def width(self) -> int:
        """Numbers of a tick: 201 for 20 classes and 3 parts."""
        per_part = 1 if self.regression is None else 3
        return self.classes + 1 + self.pyramid.parts * self.classes * per_part

    def completeness_columns(self, part: int) -> slice:
        """Where the K completeness scores of a part are."""
        first = self.classes + 1 + part * self.classes
        return slice(first, first + self.classes)

    def regression_columns(self, part: int) -> slice:
        """Where the 2K regression numbers of a part are."""
        first = self.classes + 1 + (self.pyramid.parts + 2 * part) * self.classes
        return slice(first, first + 2 * self.classes)


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """A linear layer.

    Attributes:
        weight: [out, in].
        bias: [out].
    """

    weight: npt.NDArray[np.floating[Any]]
    bias: npt.NDArray[np.floating[Any]]


def reorganise(
    activity: Linear, completeness: Linear, regression: Linear | None, parts: int
) -> Linear:
    """Make the layer that scores single ticks from those that scored whole proposals.

    Args:
        activity: weight [K + 1, D].
        completeness: weight [K, P * D].
        regression: weight [2K, P * D]; row 2c is the location of class c, row 2c + 1 its
            duration.
        parts: P.

    Returns:
        The layer [K + 1 + P * K + P * 2K, D], in the order that `Head` describes. The biases
        of completeness and regression are divided over the parts.

    Raises:
        DetectionError: The shapes do not fit together.
    """
    layers = [activity]
    for name, layer in (("completeness", completeness), ("regression", regression)):
        if layer is not None:
            layers.append(_by_part(name, layer, parts, activity.weight.shape[-1]))
    return Linear(
        np.concatenate([layer.weight for layer in layers]),
        np.concatenate([layer.bias for layer in layers]),
    )


def _by_part(name: str, layer: Linear, parts: int, features: int) -> Linear:
    rows = len(layer.weight)
    if layer.weight.shape != (rows, parts * features) or layer.bias.shape != (rows,):
        raise DetectionError(
            f"the {name} layer has weights {layer.weight.shape} and biases {layer.bias.shape}: "
            f"expected [{rows}, {parts} parts x {features} features] and [{rows}]. Name the "
            "pyramid that it was trained with."
        )
    by_part = layer.weight.reshape(rows, parts, features).transpose(1, 0, 2)
    bias = np.tile(layer.bias / parts, parts).astype(layer.bias.dtype)
    return Linear(by_part.reshape(parts * rows, features), bias)
