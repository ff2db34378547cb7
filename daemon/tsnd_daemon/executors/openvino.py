"""Runs serving graphs with OpenVINO on the CPU: the fastest there is for INT8."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError, SettingsError
from tsnd_daemon.executors.tensors import check_tensors, fill, input_buffer
from tsnd_daemon.model_store import Model
from tsnd_daemon.settings import ExecutionOptions
from tsnd_daemon.snippets import SCORES, FloatArray, Pixels, Snippet

if TYPE_CHECKING:
    import openvino

_SLOTS = 2
_BF16_FEATURES = frozenset({"avx512_bf16", "amx_bf16"})
_BF16_BOUND = 1e-2
"""Largest error of BF16, as a share of the largest score; FP16 graphs may have as much."""

logger = logging.getLogger(__name__)


def compile_model(
    model: Model, options: ExecutionOptions, *, cpus: int, cpu_features: frozenset[str]
) -> "openvino.CompiledModel":
    """Load a model's graph, in BF16 where that is faster and right.

    Args:
        model: Its path is an ONNX file.
        options: `instances` is the number of streams; 0 leaves it to OpenVINO.
        cpus: Cores that may be used.
        cpu_features: The processor's, as Linux names them.

    Raises:
        SettingsError: When OpenVINO is not installed.
        PackageError: When the graph cannot be loaded, or is not what the manifest says.
    """
    core = _core()
    exact = _compile(core, model, options, cpus, "f32")
    against = reason_against_bf16(
        options, model.artifact, cpu_features, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    )
    if against is None:
        rounded = _compile(core, model, options, cpus, "bf16")
        error = score_error(rounded, exact, probe_frames(tuple(model.manifest.input.shape)))
        against = reason_against_error(error)
        if against is None:
            logger.info("model %s: BF16, which is off by %.1e", model.manifest.name, error)
            return rounded
    logger.info("model %s: no BF16: %s", model.manifest.name, against)
    return exact


def reason_against_bf16(
    options: ExecutionOptions,
    artifact: pb.Artifact,
    cpu_features: frozenset[str],
    capabilities: Sequence[str],
) -> str | None:
    """Say why a graph is not run in BF16.

    Args:
        options: A precision that was asked for is kept.
        artifact: The graph.
        cpu_features: The processor's, as Linux names them.
        capabilities: What OpenVINO says it computes in.

    Returns:
        A reason, without a full stop; None when BF16 can be tried.
    """
    if options.precision != "auto":
        return f"precision {options.precision} was asked for"
    if artifact.precision not in (pb.PRECISION_UNSPECIFIED, pb.PRECISION_FP32):
        return "the graph is not FP32"
    if not _BF16_FEATURES & cpu_features:
        return f"the processor has neither of {', '.join(sorted(_BF16_FEATURES))}"
    if "BF16" not in capabilities:
        return "OpenVINO does not offer it on this processor"
    return None


def probe_frames(shape: tuple[int, ...]) -> Pixels:
    """Return frames to compare results on: noise, bright and dark halves, a ramp.

    Args:
        shape: Of one frame.
    """
    size = int(np.prod(shape))
    noise = np.random.default_rng(0).integers(0, 256, size)
    halves = np.where(np.arange(size) < size // 2, 230, 20)
    ramp = np.arange(size) * 255 // size
    return np.stack([noise, halves, ramp]).astype(np.uint8).reshape(-1, *shape)


def score_error(
    found: "openvino.CompiledModel", expected: "openvino.CompiledModel", frames: Pixels
) -> float:
    """Return the largest error of the scores as a share of the largest score.

    Args:
        found: A graph in a lower precision.
        expected: The same in FP32.
        frames: What both are run on.

    Returns:
        Infinite when a score is not a number.
    """
    scores, exact = (np.array(graph([frames])[SCORES], np.float64) for graph in (found, expected))
    error = float(np.abs(scores - exact).max() / np.abs(exact).max())
    return error if np.isfinite(error) else float("inf")


def reason_against_error(error: float) -> str | None:
    """Say why an error is too large; None when it is not."""
    if error <= _BF16_BOUND:
        return None
    return f"it is off by {error:.1e} of the largest score, more than {_BF16_BOUND:g}"


class OpenVinoExecutor:
    """One compiled model with a few streams, among which each batch is divided.

    A stream keeps its cores to itself, so two halves of a batch side by side finish before
    the whole batch in one stream would: 34 snippets/s with two streams and two slots, 30
    with one stream, on two cores (BN-Inception, FP32, batches of 8). The parts of the next
    batch wait in the other slot, so that a stream that is done early has work.
    """

    def __init__(
        self,
        model: Model,
        compiled: "openvino.CompiledModel",
        *,
        max_batch_size: int,
        slots: int = _SLOTS,
    ) -> None:
        """Prepare for batches.

        Args:
            model: What was compiled.
            compiled: From `compile_model`.
            max_batch_size: Most snippets in a batch.
            slots: Batches that it holds at a time.
        """
        self.slots = slots
        streams = min(max_batch_size, compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        outputs = [output.name for output in model.manifest.outputs]
        self._slots = [
            _Slot(
                input_buffer(model, max_batch_size),
                [compiled.create_infer_request() for _ in range(streams)],
                outputs,
            )
            for _ in range(slots)
        ]

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch in and divide it among the streams; see Executor."""
        self._slots[slot].start(snippets)

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Wait for all parts of the batch; see Executor."""
        return self._slots[slot].finish()

    def close(self) -> None:
        """Free the model."""
        self._slots.clear()


class _Slot:
    """A batch's input, and the requests that its parts run in."""

    def __init__(
        self, buffer: Pixels, requests: "list[openvino.InferRequest]", outputs: Sequence[str]
    ) -> None:
        self._buffer = buffer
        self._requests = requests
        self._outputs = outputs
        self._running = requests[:0]

    def start(self, snippets: Sequence[Snippet]) -> None:
        batch = fill(self._buffer, snippets)
        parts = np.array_split(batch, min(len(self._requests), len(batch)))
        self._running = []
        try:
            for request, part in zip(self._requests, parts, strict=False):
                request.start_async([part], share_inputs=True)
                self._running.append(request)
        except Exception:
            # What has begun still reads the buffer, which is free for the next batch.
            self._wait()
            raise

    def finish(self) -> dict[str, FloatArray]:
        errors = self._wait()
        if errors:
            raise errors[0]
        return {
            name: np.concatenate([request.get_tensor(name).data for request in self._running])
            for name in self._outputs
        }

    def _wait(self) -> list[RuntimeError]:
        """Wait for all parts, also when one fails; returns what went wrong."""
        errors = []
        for request in self._running:
            try:
                request.wait()
            except RuntimeError as err:
                errors.append(err)
        return errors


def _core() -> "openvino.Core":
    try:
        import openvino  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as err:
        raise SettingsError(
            "--backend openvino needs OpenVINO: pip install 'tsnd[openvino]', or take "
            "--backend onnxruntime."
        ) from err
    return openvino.Core()


def _compile(
    core: "openvino.Core", model: Model, options: ExecutionOptions, cpus: int, precision: str
) -> "openvino.CompiledModel":
    """Load a graph; of its own OpenVINO would round FP32 wherever the processor can."""
    settings: dict[str, object] = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        # More streams than snippets in all slots would never all have work.
        "PERFORMANCE_HINT_NUM_REQUESTS": _SLOTS * options.max_batch_size,
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": options.threads or cpus,
    }
    if options.instances:
        settings["NUM_STREAMS"] = options.instances
    try:
        compiled = core.compile_model(str(model.path), "CPU", settings)
    except RuntimeError as err:
        raise PackageError(
            f"OpenVINO cannot load {model.path}: {err}. Build the package again."
        ) from err
    check_tensors(model, _shapes(compiled.inputs), _shapes(compiled.outputs))
    return compiled


def _shapes(ports: Sequence[Any]) -> dict[str, list[int]]:
    """Return the shape of one row of each input or output."""
    return {
        port.get_any_name(): [dim.get_length() for dim in list(port.get_partial_shape())[1:]]
        for port in ports
    }
