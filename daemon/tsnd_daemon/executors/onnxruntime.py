"""Runs serving graphs with ONNX Runtime on the CPU: the executor that is always there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnxruntime

from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.tensors import check_tensors, fill, input_buffer
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Snippet

_FATAL_ONLY = 4

CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider of ONNX Runtime.

    Attributes:
        name: ONNX Runtime's.
        options: The provider's own, as text.
    """

    name: str
    options: Mapping[str, str]


def open_session(
    model: Model, *, threads: int = 0, arena: bool = True, providers: Sequence[Provider] = ()
) -> onnxruntime.InferenceSession:
    """Load a model's graph. Any number of threads may run a session at a time.

    Args:
        model: Its path is an ONNX file.
        threads: Of the CPU for one batch, with the one that asks for it; 0 takes all cores.
        arena: Whether memory is kept for the next batch: faster, and as much as the
            largest batch has ever needed.
        providers: What runs the graph, best first; the CPU follows as the last.

    Raises:
        PackageError: When the graph cannot be loaded, or is not what the manifest says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = _FATAL_ONLY  # what it says comes as an exception too
    # Threads that spin between layers gain little, 30.5 -> 31.1 snippets/s behind gRPC on
    # two cores, and lose much where another process wants a core: 15.8 -> 11.6.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    chosen = [(p.name, dict(p.options)) for p in (*providers, Provider(CPU, {}))]
    try:
        session = onnxruntime.InferenceSession(model.path, options, providers=chosen)
    except Exception as err:
        raise PackageError(
            f"ONNX Runtime cannot load {model.path}: {err}. Build the package again."
        ) from err
    check_tensors(
        model,
        inputs={i.name: list(i.shape[1:]) for i in session.get_inputs()},
        outputs={o.name: list(o.shape[1:]) for o in session.get_outputs()},
    )
    return session


class OnnxRuntimeExecutor:
    """Runs a session, which it may share with others, from an input buffer of its own.

    It has one slot: copying a batch takes 1 ms of the 240 ms that BN-Inception needs for it.
    """

    slots = 1

    def __init__(
        self, model: Model, session: onnxruntime.InferenceSession, *, max_batch_size: int
    ) -> None:
        """Prepare for batches.

        Args:
            model: What the session was opened for.
            session: From `open_session`.
            max_batch_size: Most snippets in a batch.
        """
        self._session = session
        self._input = model.manifest.input.name
        self._outputs = [output.name for output in model.manifest.outputs]
        self._buffer = input_buffer(model, max_batch_size)
        self._batch = self._buffer

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch in; see Executor."""
        self._batch = fill(self._buffer, snippets)

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Run the batch; see Executor."""
        results = self._session.run(self._outputs, {self._input: self._batch})
        return dict(zip(self._outputs, results, strict=True))

    def close(self) -> None:
        """Let go of the session."""
        del self._session
