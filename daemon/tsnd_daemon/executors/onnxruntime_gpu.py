"""Runs serving graphs with ONNX Runtime on a GPU, from buffers that stay there.

start():  snippets ──► host buffer ──► device buffer of the slot
finish(): run, bound to the slot's buffers ──► outputs on the host
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import onnxruntime

from tsnd_daemon.errors import ExecutorLost, SettingsError
from tsnd_daemon.executors.onnxruntime import Provider, open_session
from tsnd_daemon.executors.tensors import fill, input_buffer
from tsnd_daemon.model_store import Model
from tsnd_daemon.settings import Backend
from tsnd_daemon.snippets import FloatArray, Snippet

PROVIDERS: dict[Backend, str] = {
    "cuda": "CUDAExecutionProvider",
    "nv-tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
"""ONNX Runtime's name of what runs a backend."""

_CUDA_FAILURE = re.compile(r"\b(CUDA|CUDNN|CUBLAS)\w* (failure|error)", re.IGNORECASE)


def provider_for(model: Model, *, device: int, max_batch_size: int) -> Provider:
    """Return what runs a model on a GPU, with its options.

    Args:
        model: Its backend is cuda or nv-tensorrt-rtx.
        device: Number of the GPU.
        max_batch_size: Most snippets in a batch.
    """
    options = {"device_id": str(device)}
    if model.backend == "cuda":
        # The exhaustive search, its default, times all algorithms again for every batch
        # size that is new; TF32 would cost more accuracy than FP32 graphs are verified to.
        options |= {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    else:
        # Without a profile it would build an engine again for every new batch size.
        name, row = model.manifest.input.name, "x".join(map(str, model.manifest.input.shape))
        options |= {
            "nv_profile_min_shapes": f"{name}:1x{row}",
            "nv_profile_opt_shapes": f"{name}:{max_batch_size}x{row}",
            "nv_profile_max_shapes": f"{name}:{max_batch_size}x{row}",
        }
    return Provider(PROVIDERS[model.backend], options)


def open_gpu_session(
    model: Model, *, device: int, max_batch_size: int
) -> onnxruntime.InferenceSession:
    """Load a model's graph on a GPU. Any number of threads may run a session at a time.

    Args:
        model: Its backend is cuda or nv-tensorrt-rtx.
        device: Number of the GPU.
        max_batch_size: Most snippets in a batch.

    Raises:
        SettingsError: When ONNX Runtime cannot run anything on that GPU.
        PackageError: When the graph cannot be loaded, or is not what the manifest says.
    """
    provider = provider_for(model, device=device, max_batch_size=max_batch_size)
    check_available(model.backend, onnxruntime.get_available_providers())
    if hasattr(onnxruntime, "preload_dlls"):  # since 1.21; finds CUDA in Python's packages
        onnxruntime.preload_dlls()
    session = open_session(model, providers=[provider])
    check_started(model.backend, device, session.get_providers())
    return session


def check_available(backend: Backend, providers: Sequence[str]) -> None:
    """Refuse a backend that the installed ONNX Runtime was built without.

    Raises:
        SettingsError: With what to install.
    """
    if PROVIDERS[backend] not in providers:
        raise SettingsError(
            f"--backend {backend}: this ONNX Runtime has {', '.join(providers)}, and not "
            f"{PROVIDERS[backend]}. Install a build that has it (for cuda, pip install "
            "onnxruntime-gpu in place of onnxruntime), or take another --backend."
        )


def check_started(backend: Backend, device: int, providers: Sequence[str]) -> None:
    """Refuse a session that fell back to the CPU, as ONNX Runtime does without an error.

    Raises:
        SettingsError: With what to check.
    """
    if PROVIDERS[backend] not in providers:
        raise SettingsError(
            f"--backend {backend}: ONNX Runtime could not start {PROVIDERS[backend]} on GPU "
            f"{device}. Check that nvidia-smi lists that GPU, and that the CUDA and cuDNN "
            "versions are those that this ONNX Runtime was built for; or take another --backend."
        )


def buffer_sizes(max_batch_size: int) -> list[int]:
    """List sizes of device buffers, so that no batch takes one of twice its size.

    ONNX Runtime only copies whole buffers to a device.

    Returns:
        1, 2, 4, ... below the largest batch, and that.
    """
    powers = range(max_batch_size.bit_length())
    return sorted({*(2**i for i in powers if 2**i < max_batch_size), max_batch_size})


class OnnxRuntimeGpuExecutor:
    """Runs a session, which it may share with others, bound to buffers of its own.

    ONNX Runtime's Python calls wait for the GPU. So one executor copies a batch in before
    it runs another, not meanwhile: a second instance does.
    """

    def __init__(
        self,
        model: Model,
        session: onnxruntime.InferenceSession,
        *,
        max_batch_size: int,
        slots: int,
        device: int = 0,
        device_type: str = "cuda",
    ) -> None:
        """Allocate buffers on the device.

        Args:
            model: What the session was opened for.
            session: From `open_gpu_session`.
            max_batch_size: Most snippets in a batch.
            slots: Batches that it holds at a time.
            device: Number of the GPU.
            device_type: Where the buffers are, as ONNX Runtime calls it: cuda or cpu.
        """
        self.slots = slots
        self._slots = [
            _Slot(model, session, max_batch_size, (device_type, device)) for _ in range(slots)
        ]

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch to the device; see Executor."""
        with _lost_when_cuda_fails():
            self._slots[slot].start(snippets)

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Run the batch and copy its outputs back; see Executor."""
        with _lost_when_cuda_fails():
            return self._slots[slot].finish()

    def close(self) -> None:
        """Free the buffers and let go of the session."""
        self._slots.clear()


class _Slot:
    """A batch's buffers on the host and the device, each bound once for every batch size."""

    def __init__(
        self,
        model: Model,
        session: onnxruntime.InferenceSession,
        max_batch_size: int,
        device: tuple[str, int],
    ) -> None:
        self._session = session
        self._device = device
        self._input = model.manifest.input.name
        self._host = input_buffer(model, max_batch_size)
        self._inputs = {
            size: _allocate((size, *model.manifest.input.shape), np.uint8, device)
            for size in buffer_sizes(max_batch_size)
        }
        self._outputs = {
            output.name: _allocate((max_batch_size, *output.shape), np.float32, device)
            for output in model.manifest.outputs
        }
        self._bindings: dict[int, onnxruntime.IOBinding] = {}
        self._rows = 0

    def start(self, snippets: Sequence[Snippet]) -> None:
        self._rows = len(fill(self._host, snippets))
        size = self._size_for(self._rows)
        self._inputs[size].update_inplace(self._host[:size])

    def finish(self) -> dict[str, FloatArray]:
        binding = self._binding(self._rows)
        self._session.run_with_iobinding(binding)
        rows = binding.copy_outputs_to_cpu()
        return dict(zip(self._outputs, rows, strict=True))

    def _size_for(self, rows: int) -> int:
        return next(size for size in self._inputs if size >= rows)

    def _binding(self, rows: int) -> onnxruntime.IOBinding:
        if rows not in self._bindings:
            self._bindings[rows] = self._bind(rows)
        return self._bindings[rows]

    def _bind(self, rows: int) -> onnxruntime.IOBinding:
        """Bind the first rows of each buffer."""
        binding = self._session.io_binding()
        source = self._inputs[self._size_for(rows)]
        shape = (rows, *source.shape()[1:])
        binding.bind_input(self._input, *self._device, np.uint8, shape, source.data_ptr())
        for name, buffer in self._outputs.items():
            shape = (rows, *buffer.shape()[1:])
            binding.bind_output(name, *self._device, np.float32, shape, buffer.data_ptr())
        return binding


@contextmanager
def _lost_when_cuda_fails() -> Iterator[None]:
    """After an error of CUDA, other than too little memory, every batch fails with it."""
    try:
        yield
    except Exception as err:
        if _CUDA_FAILURE.search(str(err)) and "out of memory" not in str(err):
            raise ExecutorLost(f"the GPU cannot go on: {err}") from err
        raise


def _allocate(
    shape: tuple[int, ...], data_type: type[np.generic], device: tuple[str, int]
) -> onnxruntime.OrtValue:
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(shape), data_type, *device)
