"""The runtime half of the `tensorrt` module, in ONNX Runtime, and a GPU of ordinary memory.

`install` copies this file to `tensorrt.py` and compiles libcudart and libcuda beside it, for
processes of their own. There the real Polygraphy runs plans that `serialize` makes of ONNX files.
The GPU knows what it has lent: copies beyond that fail, and `held` counts what was not returned.

What runs on it has the right buffers, batches, profiles and errors. About TensorRT it proves
nothing: no kernels, no formats but the linear one, no asynchrony, one error message of each kind.
"""

import ctypes
import enum
import functools
import json
import math
import os
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from tests.stub_tensorrt import compile_library

__version__ = "11.4.0"
COMPUTE_CAPABILITY = "9.0"

_MAGIC = b"stand-in plan "
_ROOT = Path(__file__).parents[1]
_DRIVER = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return 0; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in", size); return 0; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? 9 : 0;  // the major and minor compute capability
    return 0;
}
"""
_CUDA = """
#include <stdlib.h>
#include <string.h>
enum { MOST = 64, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, TO_DEVICE = 1, FROM_DEVICE = 2 };
static struct { char *start; size_t bytes; } lent[MOST];

int stand_in_held(void) {
    int count = 0;
    for (int i = 0; i < MOST; i++) count += lent[i].start != NULL;
    return count;
}
int stand_in_has(const char *start, size_t bytes) {
    for (int i = 0; i < MOST; i++)
        if (lent[i].start && start >= lent[i].start
            && start + bytes <= lent[i].start + lent[i].bytes) return 1;
    return 0;
}
int cudaMalloc(void **start, size_t bytes) {
    for (int i = 0; i < MOST; i++) {
        if (lent[i].start) continue;
        lent[i].bytes = bytes;
        *start = lent[i].start = memset(malloc(bytes + 1), 0xA5, bytes + 1);
        return 0;
    }
    return OUT_OF_MEMORY;
}
int cudaFree(void *start) {
    if (!start) return 0;
    for (int i = 0; i < MOST; i++) {
        if (lent[i].start != start) continue;
        free(start);
        lent[i].start = NULL;
        return 0;
    }
    return INVALID_VALUE;
}
int cudaMemcpy(void *to, const void *from, size_t bytes, int kind) {
    if (kind == TO_DEVICE && !stand_in_has(to, bytes)) return INVALID_VALUE;
    if (kind == FROM_DEVICE && !stand_in_has(from, bytes)) return INVALID_VALUE;
    memcpy(to, from, bytes);
    return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    return cudaMemcpy(to, from, bytes, kind);
}
int cudaStreamCreate(void **stream) { return cudaMalloc(stream, 0); }
int cudaStreamSynchronize(void *stream) { return stand_in_has(stream, 0) ? 0 : INVALID_VALUE; }
int cudaStreamDestroy(void *stream) { return cudaFree(stream); }
"""


def install(folder: Path) -> dict[str, str]:
    """Put the stand-ins into a folder, and return the environment of processes that use them."""
    shutil.copyfile(__file__, folder / "tensorrt.py")
    compile_library(_DRIVER, folder / "libcuda.so.1")
    compile_library(_CUDA, folder / "libcudart.so")
    sources = (folder, _ROOT, _ROOT / "protos", _ROOT / "engine_builder")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, sources)),
        "LD_LIBRARY_PATH": str(folder),
    }


def serialize(model: bytes, profiles: Sequence[tuple[int, int]]) -> bytes:
    """Make a plan of an ONNX file, with the smallest and largest batch of each profile."""
    return b"%s%s\n%s" % (_MAGIC, json.dumps(profiles).encode(), model)


def held() -> int:
    """Return how many allocations, streams, engines and contexts have not been freed."""
    return int(_cuda().stand_in_held())


@functools.cache
def _cuda() -> ctypes.CDLL:
    return ctypes.CDLL("libcudart.so")


def _hold(owner: object) -> None:
    """Take a byte of the GPU's memory for as long as an object lives."""
    start = ctypes.c_void_p()
    assert _cuda().cudaMalloc(ctypes.byref(start), ctypes.c_size_t(1)) == 0
    weakref.finalize(owner, _cuda().cudaFree, start)


def _bytes_at(address: int, count: int) -> npt.NDArray[np.uint8]:
    """View memory of the GPU, which must have been allocated."""
    assert _cuda().stand_in_has(ctypes.c_void_p(address), ctypes.c_size_t(count))
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


DataType = enum.Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "UINT8"])
float32, float16, int8, int32, uint8 = DataType
TensorFormat = enum.Enum("TensorFormat", ["LINEAR", "HWC", "CHW16"])
TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])

_DTYPES = {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8}


class ILogger:
    Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])

    def log(self, severity: enum.Enum, msg: str) -> None:
        raise NotImplementedError


class IOutputAllocator:
    """The methods that Polygraphy's has are `_Allocates`."""


class _Allocates(Protocol):
    def reallocate_output_async(
        self, tensor_name: str, memory: int, size: int, alignment: int, stream: int
    ) -> int: ...

    def notify_shape(self, tensor_name: str, shape: tuple[int, ...]) -> None: ...


def init_libnvinfer_plugins(_logger: ILogger, _namespace: str) -> bool:
    return True


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        self._logger = logger

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        if not serialized_engine.startswith(_MAGIC):
            _complain(self._logger, "Serialization", "magic tag does not match")
            return None
        profiles, _, model = serialized_engine.removeprefix(_MAGIC).partition(b"\n")
        return ICudaEngine(model, json.loads(profiles), self._logger)


class ICudaEngine:
    def __init__(self, model: bytes, profiles: list[tuple[int, int]], logger: ILogger) -> None:
        _hold(self)
        self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self._inputs = {str(tensor.name): tensor for tensor in self._session.get_inputs()}
        self._outputs = {str(tensor.name): tensor for tensor in self._session.get_outputs()}
        self._tensors = {**self._inputs, **self._outputs}
        self._profiles, self._logger = profiles, logger

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return _DTYPES[self._tensors[name].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(dim if isinstance(dim, int) else -1 for dim in self._tensors[name].shape)

    def get_tensor_format(self, _name: str, _profile_index: int) -> TensorFormat:
        return TensorFormat.LINEAR

    def is_shape_inference_io(self, _name: str) -> bool:
        return False

    def create_execution_context(self) -> "IExecutionContext":
        return IExecutionContext(self)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine) -> None:
        _hold(self)
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, _Allocates] = {}

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, _stream_handle: int) -> bool:
        if profile_index >= len(self._engine._profiles):
            return self._refuse(f"profile {profile_index} is none of the engine's")
        self._profile = profile_index
        self._shapes.clear()
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes.get(name, self._engine.get_tensor_shape(name))

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, largest = self._engine._profiles[self._profile]
        if not smallest <= shape[0] <= largest:
            return self._refuse(f"batch {shape[0]} is outside profile {self._profile}")
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def set_output_allocator(self, name: str, output_allocator: _Allocates) -> bool:
        self._allocators[name] = output_allocator
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        feeds = {name: self._frames(name) for name in self._engine._inputs}
        results = self._engine._session.run(None, feeds)
        for name, rows in zip(self._engine._outputs, results, strict=True):
            allocator = self._allocators[name]
            memory = allocator.reallocate_output_async(name, 0, rows.nbytes, 256, stream_handle)
            _bytes_at(memory, rows.nbytes)[:] = np.frombuffer(rows.tobytes(), np.uint8)
            allocator.notify_shape(name, rows.shape)
        return True

    def _frames(self, name: str) -> npt.NDArray[np.uint8]:
        shape = self._shapes[name]
        return _bytes_at(self._addresses[name], math.prod(shape)).reshape(shape)

    def _refuse(self, what: str) -> bool:
        _complain(self._engine._logger, "API Usage Error", what)
        return False


def _complain(logger: ILogger, kind: str, what: str) -> None:
    """Log an error in TensorRT's form."""
    said = f"[standIn.cpp::complain::1] Error Code 3: {kind} ({what}. In complain at standIn.cpp:1)"
    logger.log(ILogger.Severity.ERROR, said)
