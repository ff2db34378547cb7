"""Makes the FP16 and INT8 graphs of a package out of its FP32 serving graph."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact
from tsnd_builder.errors import CalibrationError, OutOfTolerance
from tsnd_builder.inference import Frames
from tsnd_builder.manifest import now
from tsnd_builder.precision.accuracy import Accuracy, measure_accuracy
from tsnd_builder.precision.cpu import has_int8_dot_products
from tsnd_builder.precision.float_islands import choose_float_nodes
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.int8 import Int8Options, Recipe, quantize
from tsnd_builder.probes import extreme_frames, natural_frames, noise_frames
from tsnd_builder.serving_graph import Modality

FP16_MAX_ERROR = 1e-2
"""Of an output's largest value, against FP32."""

INT8_MAX_DROP = 0.01

_PROBES = 16
_FEW = 100
_SAFETY = 0.7
_SEED = 20_160_808  # apart from the seed that verification draws with

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What INT8 is measured on.

    Attributes:
        frames: Snippets, uint8 [N, *snippet shape]; every other one calibrates, the rest
            tell what was lost.
        videos: Names of the videos that they are from.
        options: How to quantize.
        max_drop: Largest share of clear snippets that may lose their first class.
    """

    frames: Frames
    videos: Sequence[str]
    options: Int8Options = field(default_factory=Int8Options)
    max_drop: float = INT8_MAX_DROP


def make_half(model: onnx.ModelProto, modality: Modality) -> NewArtifact:
    """Make the FP16 graph.

    Args:
        model: The serving graph in FP32.
        modality: What its snippets are made of.
    """
    shape = _snippet_shape(model)
    probes = (
        extreme_frames(shape, modality),
        noise_frames(shape, _PROBES // 4, _SEED),
        natural_frames(shape, modality, _PROBES, _SEED),
    )
    # Other frames may be off by more than the probes.
    float_nodes = choose_float_nodes(model, probes, max_error=_SAFETY * FP16_MAX_ERROR)
    half = to_half(model, float_nodes=float_nodes)
    description = pb.Artifact(
        kind=pb.ARTIFACT_KIND_SERVING_ONNX,
        precision=pb.PRECISION_FP16,
        float_nodes=[pb.FloatNode(name=n, reason=r) for n, r in float_nodes.items()],
        built_at=now(),
    )
    return NewArtifact(description, "model-fp16", ".onnx", half.SerializeToString())


def make_int8(
    model: onnx.ModelProto, calibration: Calibration, report: Report
) -> Iterator[NewArtifact]:
    """Make the INT8 graphs, one for CPUs and one for TensorRT.

    Args:
        model: The serving graph in FP32.
        calibration: What to measure on, and what may be lost.
        report: Called with lines on what was lost.

    Raises:
        CalibrationError: When there are not two snippets.
        OutOfTolerance: When more is lost than allowed.
    """
    if len(calibration.frames) < 2:
        raise CalibrationError(
            f"the videos give {len(calibration.frames)} snippet(s), expected at least one to "
            "calibrate and another to measure. Give more or longer videos."
        )
    ranging, judging = calibration.frames[0::2], calibration.frames[1::2]
    report(f"INT8: measuring ranges on {len(ranging)} snippets")
    graphs = quantize(model, ranging, calibration.options)
    accuracies = {}
    for recipe, quantized in graphs.items():
        report(f"INT8 for {recipe}: measuring what it loses on {len(judging)} snippets")
        # TensorRT's INT8 computes what the graph says; a CPU's is measured as it is.
        is_exact = recipe is Recipe.TENSORRT
        accuracies[recipe] = measure_accuracy(model, quantized, judging, exact_int8=is_exact)
        report("\n".join(accuracy_lines(f"INT8 for {recipe}", accuracies[recipe])))
    for recipe, accuracy in accuracies.items():  # when all are known, so that all are shown
        _check_drop(recipe, accuracy, calibration)
    if accuracy.clear_frames < _FEW:
        report(
            f"Only {accuracy.clear_frames} snippets could tell what is lost; give videos with at "
            f"least {_FEW} for a figure to rely on."
        )
    for recipe, quantized in graphs.items():
        accuracy = accuracies[recipe]
        description = pb.Artifact(
            kind=_KINDS[recipe],
            precision=pb.PRECISION_INT8,
            quantization=_quantization(recipe, calibration, accuracy),
            built_at=now(),
        )
        yield NewArtifact(description, _STEMS[recipe], ".onnx", quantized.SerializeToString())


_KINDS = {
    Recipe.CPU: pb.ARTIFACT_KIND_SERVING_ONNX,
    Recipe.TENSORRT: pb.ARTIFACT_KIND_TENSORRT_ONNX,
}
_STEMS = {Recipe.CPU: "model-int8", Recipe.TENSORRT: "model-int8-tensorrt"}


def accuracy_lines(title: str, accuracy: Accuracy) -> Iterator[str]:
    """Describe what a precision lost, for people."""
    yield f"{title}, against FP32 on {accuracy.frames} other snippets:"
    yield f"  same first class       {accuracy.top1:.1%}"
    yield (
        f"  where FP32 is clear    {accuracy.clear_top1:.1%} of {accuracy.clear_frames} snippets "
        f"(drop {accuracy.drop:.1%})"
    )
    yield f"  KL divergence          {accuracy.kl_divergence:.4f} nats"
    yield f"  signal to noise        {accuracy.snr_db:.1f} dB"
    yield "  noisiest layers        " + ", ".join(
        f"{noise.layer.removeprefix('network/')} {noise.snr_db:.1f} dB"
        for noise in accuracy.worst_layers
    )


def _check_drop(recipe: Recipe, accuracy: Accuracy, calibration: Calibration) -> None:
    if not math.isfinite(accuracy.kl_divergence):
        raise OutOfTolerance(
            f"INT8 for {recipe} gives scores that are no numbers, so nothing was written. Try "
            "another --int8-calibrator, or other videos."
        )
    if not accuracy.clear_frames:
        raise OutOfTolerance(
            f"FP32's first class is clear on none of the {accuracy.frames} snippets, so what INT8 "
            "loses cannot be told. Give videos of what the model was trained for."
        )
    if accuracy.drop <= calibration.max_drop:
        return
    saturates = recipe is Recipe.CPU and not has_int8_dot_products()
    advice = (
        " This processor has no VNNI, so its INT8 sums saturate: --int8-reduce-range avoids that."
        if saturates and not calibration.options.reduce_range
        else ""
    )
    raise OutOfTolerance(
        f"INT8 for {recipe} changes the first class of {accuracy.drop:.1%} of the snippets where "
        f"FP32's is clear; at most {calibration.max_drop:.1%} is allowed, so nothing was written. "
        "Give more or more typical videos, try another --int8-calibrator, keep early layers in "
        f"float with --int8-float-layers, or allow more with --int8-max-drop.{advice}"
    )


def _quantization(recipe: Recipe, calibration: Calibration, accuracy: Accuracy) -> pb.Quantization:
    options = calibration.options
    return pb.Quantization(
        calibrator=options.calibrator,
        calibration_snippets=len(calibration.frames[0::2]),
        videos=[Path(video).name for video in calibration.videos],
        float_layers=options.float_layers,
        reduce_range=options.reduce_range and recipe is Recipe.CPU,
        max_drop=calibration.max_drop,
        accuracy=pb.Accuracy(
            snippets=accuracy.frames,
            top1=accuracy.top1,
            clear_snippets=accuracy.clear_frames,
            clear_top1=accuracy.clear_top1,
            kl_divergence=accuracy.kl_divergence,
            snr_db=accuracy.snr_db,
            worst_layers=[
                pb.LayerNoise(layer=noise.layer, snr_db=noise.snr_db)
                for noise in accuracy.worst_layers
            ],
        ),
    )


def _snippet_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return tuple(dim.dim_value for dim in dims)[1:]
