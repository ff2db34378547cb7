"""Runs batches in the slots of one engine, in the thread that owns its CUDA context."""

import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from tsnd_daemon.errors import ExecutorLost, SettingsError
from tsnd_daemon.executors.tensorrt.checks import Gpu
from tsnd_daemon.executors.tensorrt.device import primary_context, start_driver
from tsnd_daemon.executors.tensorrt.engine import LoadedEngine, check_engine, read_profiles
from tsnd_daemon.executors.tensorrt.library import load_engine as load_with_tensorrt
from tsnd_daemon.executors.tensorrt.profiles import choose_profile, describe, most_rows
from tsnd_daemon.executors.tensorrt.slots import NoRoom, Slot
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import FloatArray, Snippet

_logger = logging.getLogger(__name__)

LoadEngine = Callable[[Model, Gpu], LoadedEngine]
"""Loads a model's plan on the GPU whose context is current."""


class TensorRtExecutor:
    """One engine on one GPU, with a few slots; see Executor.

    Attributes:
        slots: How many the GPU had memory for; at most as many as were asked for.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_batch_size: int,
        device: int,
        slots: int,
        load_engine: LoadEngine = load_with_tensorrt,
    ) -> None:
        """Load a plan and allocate what its batches need.

        Args:
            model: With a plan as its artifact.
            max_batch_size: Most snippets in a batch.
            device: Number of the GPU.
            slots: Batches that it holds at a time, where there is memory for them.
            load_engine: Loads the plan; a test's own engine comes in here.

        Raises:
            SettingsError: Without driver, GPU or library; when CUDA fails; or when memory
                or the plan's profiles are too small.
            PackageError: When the plan does not fit GPU, library or manifest.
        """
        self._device, self._slots = device, list[Slot]()
        self._loaded: LoadedEngine | None = None
        self._cuda = start_driver()
        with ExitStack() as resources:
            gpu = resources.enter_context(primary_context(self._cuda, device))
            resources.callback(self._free)
            try:
                self._loaded = load_engine(model, gpu)
                self._allocate(model, self._loaded, max_batch_size=max_batch_size, slots=slots)
            except self._cuda.Error as err:
                _forget_frames(err)
                raise SettingsError(
                    f"GPU {device} fails while {model.manifest.name} is loaded: {err}. See with "
                    "nvidia-smi what state it is in, or name another --device."
                ) from err
            except BaseException as err:
                _forget_frames(err)
                raise
            self._resources = resources.pop_all()
        self.slots = len(self._slots)

    def start(self, slot: int, snippets: Sequence[Snippet]) -> None:
        """Copy a batch in and enqueue it; see Executor."""
        with self._lost_when_cuda_fails():
            self._slots[slot].start(snippets, choose_profile(self._profiles, len(snippets)))

    def finish(self, slot: int) -> Mapping[str, FloatArray]:
        """Wait for a batch; see Executor."""
        with self._lost_when_cuda_fails():
            return self._slots[slot].finish()

    def close(self) -> None:
        """Free slots, engine and context; see Executor."""
        self._resources.close()

    def _allocate(
        self, model: Model, loaded: LoadedEngine, *, max_batch_size: int, slots: int
    ) -> None:
        check_engine(model, loaded.engine)
        self._profiles = read_profiles(loaded.engine, model.manifest.input.name)
        largest = max(profile.max for profile in self._profiles)
        if max_batch_size > largest:
            raise SettingsError(
                f"--max-batch-size {max_batch_size} exceeds the profiles of {model.path}, "
                f"{describe(self._profiles)}: run tsn-build plan --max-batch-size "
                f"{max_batch_size} again, or take --max-batch-size {largest}."
            )
        rows = most_rows(self._profiles, max_batch_size)
        for number in range(slots):
            try:
                self._add_slot(model, loaded, rows)
            except NoRoom as err:
                self._settle_for(number, wanted=slots, model=model, reason=str(err))
                break

    def _add_slot(self, model: Model, loaded: LoadedEngine, rows: int) -> None:
        slot = Slot(
            self._cuda,
            loaded,
            source=model.manifest.input,
            outputs=model.manifest.outputs,
            rows=rows,
        )
        self._slots.append(slot)

    def _settle_for(self, slots: int, *, wanted: int, model: Model, reason: str) -> None:
        """Go on with fewer slots than wanted, if there are any."""
        if slots == 0:
            raise SettingsError(
                f"GPU {self._device} has no memory for a batch of {model.manifest.name} "
                f"({reason}). Lower --max-batch-size or --instances, serve fewer models, or name "
                "another --device."
            )
        _logger.warning(
            "GPU %d has memory for %d of %d slots of %s (%s); copies overlap less. --slots %d "
            "asks for no more",
            self._device,
            slots,
            wanted,
            model.manifest.name,
            reason,
            slots,
        )

    @contextmanager
    def _lost_when_cuda_fails(self) -> Iterator[None]:
        """After an error of the driver, a context answers every call with it."""
        try:
            yield
        except self._cuda.Error as err:
            raise ExecutorLost(f"GPU {self._device} cannot go on: {err}") from err

    def _free(self) -> None:
        while self._slots:
            self._slots.pop().free()
        self._loaded = None


def _forget_frames(err: BaseException | None) -> None:
    """Drop what the frames of an error hold: an engine is to be freed here, in its context."""
    while err is not None:
        traceback.clear_frames(err.__traceback__)
        err = err.__cause__ or err.__context__
