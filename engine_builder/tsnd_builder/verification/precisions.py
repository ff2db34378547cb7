"""Lower precisions against FP32 on the same frames."""

from collections.abc import Iterator, Sequence

import onnx

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PackageError
from tsnd_builder.inference import Floats, Frames, open_session, run_batches
from tsnd_builder.manifest import modality_of
from tsnd_builder.parity import compare
from tsnd_builder.precision.accuracy import CLEAR_MARGIN
from tsnd_builder.precision.rounding import with_roundings
from tsnd_builder.probes import extreme_frames, natural_frames, noise_frames
from tsnd_builder.verification.findings import Finding
from tsnd_builder.verification.tolerances import tolerance_of

FRAMES = 64
"""Of noise, and of natural images."""

_SEED = 1


class FloatResults:
    """What the FP32 graph gives for the frames that others are compared on; run once."""

    def __init__(self, model: onnx.ModelProto, manifest: pb.ModelManifest) -> None:
        shape, modality = tuple(manifest.input.shape), modality_of(manifest)
        self.outputs = [output.name for output in manifest.outputs]
        self.frames: Sequence[tuple[str, Frames]] = (
            ("extreme", extreme_frames(shape, modality)),
            ("noise", noise_frames(shape, FRAMES, _SEED)),
            ("natural", natural_frames(shape, modality, FRAMES, _SEED)),
        )
        session = open_session(model)
        self.expected = [run_batches(session, self.outputs, frames) for _, frames in self.frames]


def onnx_findings(
    artifact: pb.Artifact, model: onnx.ModelProto, reference: FloatResults
) -> Iterator[Finding]:
    """Compare a graph in a lower precision with FP32.

    Args:
        artifact: Its entry in the manifest.
        model: The graph.
        reference: FP32's results.

    Raises:
        PackageError: When it does not take the same frames or gives no such outputs.
    """
    is_exact = artifact.kind == pb.ARTIFACT_KIND_TENSORRT_ONNX
    try:
        # FP16 as a GPU computes it, for a CPU's is more exact than the graph says.
        is_half = artifact.precision == pb.PRECISION_FP16
        session = open_session(with_roundings(model) if is_half else model, exact_int8=is_exact)
        results = [
            run_batches(session, reference.outputs, frames) for _, frames in reference.frames
        ]
    except Exception as err:
        raise PackageError(
            f"{artifact.file} does not run as the FP32 graph does: {str(err)[:200]}. Add it again."
        ) from err
    yield from compare_results(artifact, iter(results), reference)


def compare_results(
    artifact: pb.Artifact, results: Iterator[list[Floats]], reference: FloatResults
) -> Iterator[Finding]:
    """Compare results on the frames of the reference, however they came about.

    Raises:
        PackageError: When their shapes differ.
    """
    tolerance = tolerance_of(artifact)
    for (inputs, _), found, expected in zip(
        reference.frames, results, reference.expected, strict=True
    ):
        for output, rows, wanted in zip(reference.outputs, found, expected, strict=True):
            if rows.shape != wanted.shape:
                raise PackageError(
                    f"{artifact.file} gives {output} of {rows.shape}, FP32 of {wanted.shape}. Add "
                    "it again."
                )
            agreement = compare(rows, wanted, margin=tolerance or CLEAR_MARGIN)
            yield Finding(artifact.file, "FP32", inputs, output, agreement, tolerance)
