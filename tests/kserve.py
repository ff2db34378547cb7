"""Requests of the KServe protocol, and what has to hold of their answers."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from grpc import aio

from tests.daemons import RunningDaemon
from tests.streams import Recorder, frame
from tsnd.kserve import inference_pb2 as pb
from tsnd.kserve import inference_pb2_grpc
from tsnd_daemon.shared_memory import FOLDER

SHAPE = (16, 21, 3)
SIZE = 16 * 21 * 3
HELD_S = 15.0


def stub_of(daemon: RunningDaemon) -> Any:
    return inference_pb2_grpc.GRPCInferenceServiceStub(daemon.channel)


def infer_request(
    request_id: str = "r", *, rows: int = 1, model: str = "tiny_rgb", stream: int = 0, **params: Any
) -> pb.ModelInferRequest:
    """A request of frames whose scores tell them apart.

    Args:
        request_id: Of the request; a number there marks its first frame.
        rows: Its frames, which are numbered on.
        model: Its model.
        stream: Marks its frames.
        params: Its parameters.
    """
    first = int(request_id) if request_id.isdecimal() else 0
    pixels = np.stack([frame(stream, first + row) for row in range(rows)])
    message = pb.ModelInferRequest(
        model_name=model,
        id=request_id,
        inputs=[tensor(shape=[rows, *SHAPE])],
        raw_input_contents=[pixels.tobytes()],
    )
    for name, value in params.items():
        set_parameter(message.parameters, name, value)
    return message


def tensor(**fields: Any) -> pb.ModelInferRequest.InferInputTensor:
    """The input of tiny_rgb."""
    defaults = {"name": "snippets", "datatype": "UINT8", "shape": [1, *SHAPE]}
    return pb.ModelInferRequest.InferInputTensor(**{**defaults, **fields})


def set_parameter(parameters: Any, name: str, value: Any) -> None:
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    setattr(parameters[name], kinds[type(value)], value)


def in_region(holder: Any, name: str, byte_size: int, offset: int = 0) -> Any:
    """Say of an input or output that it is in shared memory; returns it."""
    set_parameter(holder.parameters, "shared_memory_region", name)
    set_parameter(holder.parameters, "shared_memory_byte_size", byte_size)
    set_parameter(holder.parameters, "shared_memory_offset", offset)
    return holder


def wanted(name: str, **params: Any) -> pb.ModelInferRequest.InferRequestedOutputTensor:
    output = pb.ModelInferRequest.InferRequestedOutputTensor(name=name)
    for key, value in params.items():
        set_parameter(output.parameters, key, value)
    return output


def values(response: pb.ModelInferResponse, name: str = "scores") -> np.ndarray[Any, Any]:
    """An output of a response."""
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == name:
            return np.frombuffer(raw, np.float32).reshape(list(output.shape))
    raise AssertionError(f"there is no {name}")


def marks_of(response: pb.ModelInferResponse) -> list[list[int]]:
    """What the frames of a request were marked with, as SyntheticExecutor returns it."""
    return [[int(value) for value in row[:3]] for row in values(response)]


async def status_of(call: Any) -> tuple[grpc.StatusCode, str]:
    try:
        await call
    except aio.AioRpcError as err:
        return err.code(), err.details() or ""
    return grpc.StatusCode.OK, ""


@contextmanager
def shared_object(content: bytes) -> Iterator[str]:
    """Name of an object in shared memory."""
    name = f"tsnd-test-{secrets.token_hex(8)}"
    path = FOLDER / name
    path.write_bytes(content)
    try:
        yield name
    finally:
        path.unlink(missing_ok=True)


async def register(stub: Any, name: str, key: str, byte_size: int, offset: int = 0) -> None:
    request = pb.SystemSharedMemoryRegisterRequest(
        name=name, key=key, offset=offset, byte_size=byte_size
    )
    await stub.SystemSharedMemoryRegister(request)


class Gate:
    """Makes executors that remember their batches, and finish none before `open`."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self._opened = threading.Event()

    def open(self) -> None:
        self._opened.set()

    @property
    def ran(self) -> list[str]:
        """The ids of all snippets after the first request's, in the order in which they ran."""
        names = [name for batch in self.batches for name in batch]
        return [name for name in names if not name.startswith("first")]

    def make(self, model: Any) -> "Held":
        return Held(model, self.batches, self._opened)


class Held(Recorder):
    """An executor behind a gate."""

    def __init__(self, model: Any, batches: list[list[str]], opened: threading.Event) -> None:
        super().__init__(model, batches)
        self._opened = opened

    def start(self, slot: int, snippets: Any) -> None:
        self._is_held = snippets[0].id != "warm-up"
        super().start(slot, snippets)

    def finish(self, slot: int) -> Any:
        if self._is_held:
            self._opened.wait(HELD_S)
        return super().finish(slot)
