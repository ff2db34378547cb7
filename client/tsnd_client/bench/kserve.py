"""KServe v2: each message is a ModelInfer call of its own, by Triton's client, to any server.

The server is asked for its input; all streams send the same tensor, made once. What such a
server says about a single request is its scores, so there is no queue, compute or batch here.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from tsnd_client.bench.calls import IndependentCalls
from tsnd_client.bench.lane import Served, Sink
from tsnd_client.bench.ledger import GIVEN_UP, Answered, Outcome, Refused, Ticket
from tsnd_client.bench.streams import Feed
from tsnd_client.errors import DaemonUnavailable, InputError, MissingExtra, ModelNotFound

try:
    from tritonclient.grpc import InferInput
    from tritonclient.grpc.aio import InferenceServerClient
    from tritonclient.utils import InferenceServerException, triton_to_np_dtype
except ImportError as err:
    raise MissingExtra(
        f"--protocol kserve needs Triton's client ({err}): pip install --no-deps tritonclient "
        "python-rapidjson"
    ) from err

_MAX_BYTES = 2**31 - 1
_OPTIONS = (
    ("grpc.max_send_message_length", _MAX_BYTES),
    ("grpc.max_receive_message_length", _MAX_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
_TIMEOUT_S = 30.0
"""For the description of the model."""


@asynccontextmanager
async def open_kserve(target: str, model: str) -> AsyncIterator["KServeDoor"]:
    """Ask the server what the model takes.

    Raises:
        InputError: The model is unknown, or has no input of one known size.
        DaemonUnavailable: No server answered.
    """
    client = _client(target)
    try:
        metadata = await client.get_model_metadata(model, client_timeout=_TIMEOUT_S)
    except InferenceServerException as err:
        raise _to_client_error(err, target, model) from err
    finally:
        await client.close()
    yield KServeDoor(target, metadata)


class KServeDoor:
    """Opens streams to one server for one model."""

    def __init__(self, target: str, metadata: Any) -> None:  # noqa: ANN401 - a message of Triton's
        """Take what is sent.

        Args:
            target: HOST:PORT of the server.
            metadata: Its ModelMetadataResponse.

        Raises:
            InputError: There is no input of one known size.
        """
        self._input = _only_input(metadata)
        self._target = target
        self.served = Served(
            target=target,
            model=metadata.name,
            version=max(metadata.versions, default=""),
            modality="",
            snippet_shape=tuple(self._input.shape[1:]),
            backend=metadata.platform,
            precision="",
            max_batch_size=0,
        )

    async def open_lane(self, feed: Feed, sink: Sink) -> "KServeLane":
        """Begin a stream: a connection of its own."""
        shape = (feed.group, *self.served.snippet_shape)
        tensor = InferInput(self._input.name, list(shape), self._input.datatype)
        dtype = triton_to_np_dtype(self._input.datatype)
        values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        tensor.set_data_from_numpy(values.astype(dtype))
        return KServeLane(_client(self._target), self.served.model, tensor, feed, sink)


class KServeLane:
    """One stream; its calls are independent of each other."""

    def __init__(self, client: Any, model: str, tensor: Any, feed: Feed, sink: Sink) -> None:  # noqa: ANN401 - Triton's
        """Prepare its calls.

        Args:
            client: Triton's, ours to close.
            model: Name of the model.
            tensor: The input of a group.
            feed: What the stream is.
            sink: Who hears what becomes of snippets.
        """
        self._client = client
        self._sink = sink
        self._calls = IndependentCalls()
        self._request = {
            "model_name": model,
            "inputs": [tensor],
            "priority": feed.priority + 1,  # Triton counts from 1
            "timeout": None if feed.timeout_ms is None else round(feed.timeout_ms * 1e3),
        }

    async def send(self, ticket: Ticket) -> None:
        """Begin a call."""
        self._calls.begin(self._infer(ticket))

    async def finish(self, patience_s: float) -> None:
        """Wait for the calls, then cancel those that are left."""
        await self._calls.finish(patience_s)
        await self._client.close()

    async def _infer(self, ticket: Ticket) -> None:
        outcome: Outcome = Answered()
        try:
            await self._client.infer(**self._request)
        except InferenceServerException as err:
            outcome = Refused(_code(err))
        except asyncio.CancelledError:
            outcome = Refused(GIVEN_UP)
        for _ in range(ticket.left):
            self._sink.settle(ticket, outcome)


def _client(target: str) -> Any:  # noqa: ANN401 - Triton's has no types
    return InferenceServerClient(target, channel_args=list(_OPTIONS))


def _only_input(metadata: Any) -> Any:  # noqa: ANN401 - messages of Triton's
    """Return the one input, whose first dimension is that of the group.

    Raises:
        InputError: There are several, or it has sizes that the server leaves open, or no numbers.
    """
    inputs: Sequence[Any] = metadata.inputs
    if len(inputs) != 1 or not _is_fillable(inputs[0]):
        found = [f"{each.name} {each.datatype} {list(each.shape)}" for each in inputs]
        raise InputError(
            f"model {metadata.name!r} has the inputs {', '.join(found) or 'none'}; `tsn bench` "
            "fills a single one, of numbers, whose sizes, but for the first, are known."
        )
    return inputs[0]


def _is_fillable(spec: Any) -> bool:  # noqa: ANN401 - a message of Triton's
    has_sizes = bool(spec.shape) and min(spec.shape[1:], default=1) >= 1
    return has_sizes and triton_to_np_dtype(spec.datatype) not in (None, np.object_)


def _to_client_error(err: Any, target: str, model: str) -> Exception:  # noqa: ANN401 - Triton's
    if _code(err) == "NOT_FOUND":
        return ModelNotFound(model, target, err.message())
    if _code(err) == "UNIMPLEMENTED":
        return InputError(f"the server at {target} does not speak KServe v2: {err.message()}")
    return DaemonUnavailable(target, err.message())


def _code(err: Any) -> str:  # noqa: ANN401 - Triton's
    """Return a status's name; Triton's client has `StatusCode.NAME`."""
    return str(err.status()).rpartition(".")[2]
