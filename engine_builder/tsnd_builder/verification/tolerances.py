"""How far each precision may be off, of the largest value."""

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.lowering import FP16_MAX_ERROR
from tsnd_builder.manifest import precision_of

FP32_TOLERANCE = 2e-4
"""Float32 noise of Inception V3, twice that of BN-Inception."""

_TOLERANCES = {
    pb.PRECISION_FP32: FP32_TOLERANCE,
    pb.PRECISION_FP16: FP16_MAX_ERROR,
    # What INT8 loses depends on the videos; on other frames it has only to stay sane.
    pb.PRECISION_INT8: None,
}


def tolerance_of(artifact: pb.Artifact) -> float | None:
    """Return how far a file may be off; None when only numbers are demanded.

    TF32 has the mantissa of FP16.
    """
    precision = precision_of(artifact)
    is_tf32 = precision == pb.PRECISION_FP32 and artifact.plan.tf32
    return FP16_MAX_ERROR if is_tf32 else _TOLERANCES[precision]
