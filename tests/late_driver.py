"""Controls late_driver.c, which `make test-cuda` preloads between PyCUDA and libcuda."""

import ctypes
import sys
from collections.abc import Callable

_KINDS = ("device memory", "pinned memory", "streams", "events", "contexts")
_CALL = ctypes.CFUNCTYPE(None)


class LateDriver:
    """The layer in this process."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._functions: list[object] = []
        self.errors: list[BaseException] = []

    def held(self) -> dict[str, int]:
        """Count what was allocated and not freed, by kind."""
        return {kind: self._library.late_held(index) for index, kind in enumerate(_KINDS)}

    def waiting(self) -> int:
        """Count the operations that are enqueued and have not run."""
        return int(self._library.late_waiting())

    def last_device(self) -> int:
        """Return the number of the GPU that was asked for last."""
        return int(self._library.late_device())

    def enqueue(self, stream_handle: int, call: Callable[[], None]) -> None:
        """Have a stream call Python in its turn; what that raises is kept in errors."""

        calls = [call]

        def guarded() -> None:
            try:
                calls.pop()()  # and with it goes what it holds
            except BaseException as err:  # noqa: BLE001 - C has no use for it
                self.errors.append(err)

        function = _CALL(guarded)
        self._functions.append(function)  # C does not keep it alive
        assert self._library.late_enqueue(ctypes.c_void_p(stream_handle), function) == 0

    def fail(self, result: int) -> None:
        """Answer every call with an error, as after an error of the device."""
        self._library.late_fail(result)

    def show_devices(self, count: int) -> None:
        """Show the GPU as several."""
        self._library.late_show_devices(count)

    def limit_memory(self, size_bytes: int) -> None:
        """Make the GPU's memory short."""
        self._library.late_limit_memory(ctypes.c_size_t(size_bytes))

    def reset(self) -> None:
        """Work again, with one GPU and all of its memory."""
        self.fail(0)
        self.show_devices(1)
        self.limit_memory(sys.maxsize)
        self._functions.clear()
        self.errors.clear()


def find_late_driver() -> LateDriver | None:
    """Return the layer, if this process was started with it."""
    library = ctypes.CDLL(None)
    return LateDriver(library) if hasattr(library, "late_held") else None
