"""What TSN's authors published for their models, in per cent.

From "TSN Pretrained Models on Kinetics Dataset" (Multimedia Laboratory, CUHK): 25 snippets,
10 crops; Kinetics weighs rgb and flow 1:1. UCF101 is the mean over its three splits.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One row of a published table.

    Attributes:
        about: Data set, network and what it was trained on before.
        metrics: By metric, then by stream (rgb, flow, fused): per cent.
    """

    about: str
    metrics: Mapping[str, Mapping[str, float]]


def _row(about: str, **metrics: tuple[float, float, float]) -> PublishedResult:
    streams = ("rgb", "flow", "fused")
    return PublishedResult(
        about,
        {name: dict(zip(streams, values, strict=True)) for name, values in metrics.items()},
    )


PUBLISHED: Mapping[str, PublishedResult] = {
    "kinetics-bninception": _row(
        "Kinetics validation, BN-Inception", top1=(69.1, 62.1, 73.9), top5=(88.7, 83.9, 91.1)
    ),
    "kinetics-inceptionv3": _row(
        "Kinetics validation, Inception V3", top1=(72.5, 62.8, 76.6), top5=(90.2, 84.2, 92.4)
    ),
    "ucf101-bninception-imagenet": _row(
        "UCF101, BN-Inception from ImageNet", mean_class_accuracy=(85.4, 89.4, 94.9)
    ),
    "ucf101-bninception-kinetics": _row(
        "UCF101, BN-Inception from ImageNet and Kinetics", mean_class_accuracy=(91.1, 95.2, 97.0)
    ),
    "ucf101-inceptionv3-kinetics": _row(
        "UCF101, Inception V3 from ImageNet and Kinetics", mean_class_accuracy=(93.2, 95.3, 97.3)
    ),
}
"""By the name that `tsn evaluate --published` has for it."""
