"""Caffe's rules for which layers of a file are in the net (net.cpp, FilterNet)."""

from collections.abc import Iterator

from tsnd.caffe.net_pb2 import TEST, LayerParameter, NetParameter, NetStateRule
from tsnd_builder.errors import PrototxtError

TRAINING_ONLY = frozenset(
    (
        *("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "SegData", "VideoData"),
        *("WindowData", "HDF5Output", "Accuracy", "ContrastiveLoss", "EuclideanLoss", "HingeLoss"),
        *("InfogainLoss", "MultinomialLogisticLoss", "SigmoidCrossEntropyLoss", "SoftmaxWithLoss"),
    )
)
"""Layers that read training data or compare with labels; a deployed net has neither."""


def layers_under_test(net: NetParameter) -> Iterator[LayerParameter]:
    """Yield the layers of the net when it runs in the TEST phase, without training data.

    Raises:
        PrototxtError: When a layer has both include and exclude rules.
    """
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise PrototxtError(
                f"layer {layer.name!r} has both include and exclude rules; keep one kind."
            )
        if layer.include:
            is_in = any(_fits(rule, net) for rule in layer.include)
        else:
            is_in = not any(_fits(rule, net) for rule in layer.exclude)
        if is_in and layer.type not in TRAINING_ONLY:
            yield layer


def _fits(rule: NetStateRule, net: NetParameter) -> bool:
    """Tell whether phase TEST with the file's own level and stages meets a rule."""
    stages = set(net.state.stage)
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and (not rule.HasField("min_level") or net.state.level >= rule.min_level)
        and (not rule.HasField("max_level") or net.state.level <= rule.max_level)
        and stages.issuperset(rule.stage)
        and stages.isdisjoint(rule.not_stage)
    )
