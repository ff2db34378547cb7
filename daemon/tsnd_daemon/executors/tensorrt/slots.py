"""A batch's place on the GPU: stream, execution context, pinned and device memory, event.

    snippets ─copy─► pinned ─┐               one stream           ┌─► pinned ─copy─► rows
                             └─► device ──► execution ──► device ─┘ event

Slots share nothing but the engine, so the stream of one copies while another's computes. A
TensorRT execution context must not be enqueued on two streams at a time, so each has its own.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.executors.tensorrt.engine import ExecutionContext, LoadedEngine
from tsnd_daemon.executors.tensorrt.profiles import Profile
from tsnd_daemon.executors.tensors import fill
from tsnd_daemon.snippets import FloatArray, Snippet

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, cuda.h: the stream does not wait for the default one. No name in
PyCUDA."""

_DTYPES: dict[int, npt.DTypeLike] = {
    pb.DATA_TYPE_UINT8: np.uint8,
    pb.DATA_TYPE_FLOAT32: np.float32,
}


class NoRoom(Exception):
    """The GPU has no memory for another slot; says what is short."""


@dataclass(slots=True, eq=False)
class _Buffer:
    """An input or output, twice.

    Attributes:
        name: Of the tensor.
        pinned: Its rows in page-locked host memory, which asynchronous copies need.
        device: Its memory on the GPU.
    """

    name: str
    pinned: npt.NDArray[Any]
    device: Any

    def free(self) -> None:
        """Give both back."""
        self.device.free()
        self.pinned.base.free()  # type: ignore[union-attr] # PyCUDA's own allocation


class Slot:
    """Runs one batch at a time. Made, used and freed in the thread of its CUDA context."""

    # CUDA graphs would save launches, but PyCUDA 2026.1 offers no stream capture.

    def __init__(
        self,
        cuda: ModuleType,
        loaded: LoadedEngine,
        *,
        source: pb.TensorSpec,
        outputs: Sequence[pb.TensorSpec],
        rows: int,
    ) -> None:
        """Allocate everything that a batch needs.

        Args:
            cuda: pycuda.driver, with a current context.
            loaded: The engine.
            source: Its input.
            outputs: All of its outputs.
            rows: Most rows in one execution, in snippets.

        Raises:
            NoRoom: When memory is short; nothing stays allocated.
        """
        self._cuda, self._complaints = cuda, loaded.complaints
        self._context: ExecutionContext | None = None
        self._stream: Any = None
        self._done: Any = None
        self._buffers: list[_Buffer] = []
        self._count = 0
        self._profile: Profile | None = None
        self._rows = 0
        try:
            self._allocate(loaded, [source, *outputs], rows)
        except cuda.MemoryError as err:
            self.free()
            raise NoRoom(str(err)) from err
        except BaseException:
            self.free()
            raise

    def start(self, snippets: Sequence[Snippet], profile: Profile) -> None:
        """Copy a batch in and enqueue everything up to its results in pinned memory.

        Args:
            snippets: At most the slot's rows.
            profile: What it runs in.

        Raises:
            RuntimeError: When TensorRT refuses the batch; nothing of it runs any more.
            pycuda.driver.Error: When CUDA fails.
        """
        count = len(snippets)
        taken, *given = self._buffers
        # Rows that only fill up a batch stay as they are: nobody reads their results.
        batch = fill(taken.pinned, snippets)
        self._cuda.memcpy_htod_async(taken.device, batch, self._stream)
        if not self._enqueue(profile, profile.rows_for(count)):
            # The copy still reads the pinned memory; and this raises what CUDA has to say.
            self._stream.synchronize()
            raise RuntimeError(f"TensorRT refused a batch of {count}: {self._complaints()}")
        for buffer in given:
            self._cuda.memcpy_dtoh_async(buffer.pinned[:count], buffer.device, self._stream)
        self._done.record(self._stream)
        self._count = count

    def finish(self) -> dict[str, FloatArray]:
        """Wait for the batch, without spinning.

        Returns:
            For each output, its rows, copied.

        Raises:
            pycuda.driver.Error: When CUDA failed.
        """
        self._done.synchronize()
        return {buffer.name: buffer.pinned[: self._count].copy() for buffer in self._buffers[1:]}

    def free(self) -> None:
        """Give everything back. PyCUDA frees streams and events with their last reference."""
        if self._stream is not None:
            with suppress(self._cuda.Error):  # which whoever waits for the batch gets
                self._stream.synchronize()
        self._context = None
        self._done = self._stream = None
        while self._buffers:
            self._buffers.pop().free()

    def _allocate(self, loaded: LoadedEngine, specs: Sequence[pb.TensorSpec], rows: int) -> None:
        flags = self._cuda.event_flags
        self._stream = self._cuda.Stream(_NON_BLOCKING)
        self._done = self._cuda.Event(flags.BLOCKING_SYNC | flags.DISABLE_TIMING)
        for spec in specs:
            self._add_buffer(spec, rows)
        self._context = loaded.engine.create_execution_context()
        if self._context is None:
            raise NoRoom(self._complaints())

    def _add_buffer(self, spec: pb.TensorSpec, rows: int) -> None:
        shape = (rows, *spec.shape)
        pinned = self._cuda.pagelocked_empty(shape, _DTYPES[spec.data_type])
        try:
            device = self._cuda.mem_alloc(pinned.nbytes)
        except BaseException:
            pinned.base.free()
            raise
        self._buffers.append(_Buffer(spec.name, pinned, device))

    def _enqueue(self, profile: Profile, rows: int) -> bool:
        """Set what differs from the batch before, and enqueue; says whether TensorRT agrees."""
        context = self._context
        assert context is not None, "start() after free()"
        if profile != self._profile:
            self._profile, self._rows = None, 0
            if not self._select(context, profile):
                return False
            self._profile = profile
        if rows != self._rows:
            taken = self._buffers[0]
            if not context.set_input_shape(taken.name, (rows, *taken.pinned.shape[1:])):
                return False
            self._rows = rows
        return context.execute_async_v3(self._stream.handle)

    def _select(self, context: ExecutionContext, profile: Profile) -> bool:
        return context.set_optimization_profile_async(profile.index, self._stream.handle) and all(
            context.set_tensor_address(buffer.name, int(buffer.device)) for buffer in self._buffers
        )
