"""Measures what a lower precision costs, against FP32 on the same frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from tsnd_builder.inference import (
    Floats,
    Frames,
    batches,
    open_session,
    run_batches,
    with_outputs,
)
from tsnd_builder.parity import leads
from tsnd_builder.serving_graph import SCORES

CLEAR_MARGIN = 1e-2
"""FP32's first class is clear when it leads by this much of the largest score: what FP16
may be off by, so no lower precision can be held to less."""

WORST = 10
NO_NOISE_DB = 999.0
"""In the place of infinity, for which JSON has no word."""

_BATCH = 2

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """How much of a layer's output is noise, with all before it in the lower precision."""

    layer: str
    snr_db: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What a lower precision does to the scores of some frames.

    Attributes:
        frames: How many there were.
        top1: Share whose first class is that of FP32.
        clear_frames: How many had a clear first class in FP32; see CLEAR_MARGIN.
        clear_top1: Share of those whose first class is that of FP32; 1 when there are none.
        kl_divergence: Mean of KL(FP32 || lower) between the classes' probabilities, nats.
        snr_db: Power of the scores over the power of their errors, decibels.
        worst_layers: The noisiest layers, worst first.
    """

    frames: int
    top1: float
    clear_frames: int
    clear_top1: float
    kl_divergence: float
    snr_db: float
    worst_layers: tuple[LayerNoise, ...]

    @property
    def drop(self) -> float:
        """Share of the clear frames whose first class is lost."""
        return 1.0 - self.clear_top1


def measure_accuracy(
    model: onnx.ModelProto, lower: onnx.ModelProto, frames: Frames, *, exact_int8: bool
) -> Accuracy:
    """Run both graphs and compare.

    Args:
        model: The serving graph in FP32.
        lower: The same in a lower precision.
        frames: Snippets, best others than it was calibrated with.
        exact_int8: See `open_session`.
    """
    (expected,) = run_batches(open_session(model), [SCORES], frames)
    (found,) = run_batches(open_session(lower, exact_int8=exact_int8), [SCORES], frames)
    layers = layer_noise(model, lower, frames, exact_int8=exact_int8)
    return compare_scores(found, expected, layers)


def compare_scores(found: Floats, expected: Floats, layers: Sequence[LayerNoise] = ()) -> Accuracy:
    """Compare scores [N, classes] with those of FP32."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    same = a.argmax(axis=1) == b.argmax(axis=1)
    is_clear = leads(a) > CLEAR_MARGIN * np.abs(a).max()
    log_a, log_b = _log_softmax(a), _log_softmax(b)
    return Accuracy(
        frames=len(a),
        top1=float(same.mean()),
        clear_frames=int(is_clear.sum()),
        clear_top1=float(same[is_clear].mean()) if is_clear.any() else 1.0,
        kl_divergence=float((np.exp(log_a) * (log_a - log_b)).sum(axis=1).mean()),
        snr_db=_decibels(float((a**2).sum()), float(((a - b) ** 2).sum())),
        worst_layers=tuple(sorted(layers, key=lambda layer: layer.snr_db)[:WORST]),
    )


def layer_noise(
    model: onnx.ModelProto, lower: onnx.ModelProto, frames: Frames, *, exact_int8: bool
) -> list[LayerNoise]:
    """Measure every convolution and matrix product, in the order of the graph."""
    layers = _outputs_of_layers(model, lower)
    sources = [value for value, _ in layers.values()]
    targets = [value for _, value in layers.values()]
    reference = open_session(with_outputs(model, sources))
    session = open_session(with_outputs(lower, targets), exact_int8=exact_int8)
    signal, noise = np.zeros(len(layers)), np.zeros(len(layers))
    for batch in batches(frames, _BATCH):
        expected, found = _run(reference, sources, batch), _run(session, targets, batch)
        signal += [float(np.square(e).sum(dtype=np.float64)) for e in expected]
        noise += [
            float(np.square(e - f).sum(dtype=np.float64))
            for e, f in zip(expected, found, strict=True)
        ]
    powers = zip(layers, signal, noise, strict=True)
    return [LayerNoise(name, _decibels(float(s), float(n))) for name, s, n in powers]


def _outputs_of_layers(
    model: onnx.ModelProto, lower: onnx.ModelProto
) -> dict[str, tuple[str, str]]:
    """Return, by layer, the value that it makes in either graph.

    Quantizing may merge a layer with the ReLU behind it, which then is the clipping of
    its Q/DQ pair, so the value behind that pair is what compares.
    """
    known = {value for node in model.graph.node for value in node.output}
    made = {value for node in lower.graph.node for value in node.output}
    pairs = {}
    for node in lower.graph.node:
        value = node.output[0]
        if node.op_type in _LAYERS and value in known:
            dequantized = f"{value}_DequantizeLinear_Output"
            pairs[node.name] = (value, dequantized if dequantized in made else value)
    return pairs


def _run(
    session: onnxruntime.InferenceSession, values: Sequence[str], batch: Frames
) -> list[Floats]:
    (source,) = session.get_inputs()
    return [np.asarray(v, np.float32) for v in session.run(list(values), {source.name: batch})]


def _log_softmax(scores: Doubles) -> Doubles:
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs: Doubles = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _decibels(signal: float, noise: float) -> float:
    """Return a ratio of powers in decibels."""
    if not np.isfinite(noise):
        return -NO_NOISE_DB
    return NO_NOISE_DB if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise))
