"""The two clients of a tsnd daemon: one for plain code, one for asyncio.

They differ in who waits. `Client` pulls a stream's input in the caller's own thread,
between two results; `AsyncClient` pulls it in a task, while results are awaited.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Self

import grpc
import numpy as np
import numpy.typing as npt

from tsnd.v1 import snippets_pb2
from tsnd.v1.snippets_pb2_grpc import SnippetServiceStub
from tsnd_client import async_stream, sync_stream
from tsnd_client.connection import Tls, to_connection
from tsnd_client.defaults import DEFAULT_DEADLINE_S, DEFAULT_MAX_IN_FLIGHT, DEFAULT_TARGET
from tsnd_client.health import Health, ask_health
from tsnd_client.in_flight import InFlight, NamedPixels
from tsnd_client.jpeg import Jpeg
from tsnd_client.messages import (
    SnippetScores,
    StreamResult,
    add_snippet,
    from_response,
    from_status,
    new_request,
)
from tsnd_client.model_info import (
    Modality,
    ModelInfo,
    ModelSummary,
    Pair,
    to_model_info,
    to_model_request,
    to_model_summaries,
    to_pairs,
)
from tsnd_client.reply import EVERYTHING, Reply
from tsnd_client.shared_memory import is_on_this_host, make_memory
from tsnd_client.urgency import Priority, Urgency, to_urgency

_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_SNIPPET_OVERHEAD_BYTES = 2048  # id, shape, model

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A proxy that the environment sets for the web seldom leads to the daemon.
    ("grpc.enable_http_proxy", 0),
    # A daemon that was restarted is found again soon; gRPC alone would wait up to 2 minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

# What a model was asked for by: name, modality, version.
_Models = dict[tuple[str, Modality | None, int], ModelInfo]


class Client:
    """Scores snippets with a daemon; a context manager.

    Threads may share one client; each stream belongs to the thread that iterates over it.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        deadline_s: float | None = DEFAULT_DEADLINE_S,
        shared_memory: bool = True,
        token: str | None = None,
        tls: Tls | None = None,
        allow_plaintext_token: bool = False,
    ) -> None:
        """Prepare a connection; it is made by the first call.

        Args:
            target: HOST:PORT of the daemon.
            max_in_flight: Most snippets of one stream that are sent and not answered.
            deadline_s: Longest a call may take, seconds; None is for ever. A stream has
                its own, see `score_stream`.
            shared_memory: Whether streams to a daemon on this host share memory with it for
                the pixels, where it can open this process's; they are sent otherwise.
            token: Sent with every call, to a daemon that asks for one; None takes TSND_TOKEN,
                or what is in the file that TSND_TOKEN_FILE names.
            tls: Encrypts; None does where TSND_CA names the file of an authority, with
                TSND_CLIENT_CERTIFICATE and TSND_CLIENT_KEY where the daemon asks for them.
            allow_plaintext_token: Whether a token may leave this host without encryption.

        Raises:
            ValueError: `max_in_flight` is less than 1.
            CredentialsError: A file cannot be read, or the token would be sent for all to
                read.
        """
        self._target = target
        self.max_in_flight = _require_positive(max_in_flight)
        self._in_flight = partial(
            _new_in_flight,
            target=target,
            shares_memory=shared_memory and is_on_this_host(target),
        )
        self._deadline_s = deadline_s
        self._models: _Models = {}
        connection = to_connection(
            target, token=token, tls=tls, allow_plaintext_token=allow_plaintext_token
        )
        self._channel = connection.open(_CHANNEL_OPTIONS)
        self._stub = connection.authorize(SnippetServiceStub(self._channel))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def health(self) -> Health:
        """Ask whether the daemon serves, and what; a daemon that does not answer is no error."""
        return ask_health(self._channel, self._stub, self._target, self._deadline_s)

    def models(self) -> tuple[ModelSummary, ...]:
        """List the models that the daemon serves, one line per version, sorted by name.

        Raises:
            DaemonUnavailable: No daemon answered.
            CallFailed: The daemon answered with another status.
        """
        return to_model_summaries(self._list())

    def pairs(self) -> tuple[Pair, ...]:
        """List the two-stream pairs: names that stand for an rgb and a flow model.

        Raises:
            DaemonUnavailable: No daemon answered.
            CallFailed: The daemon answered with another status.
        """
        return to_pairs(self._list())

    def model(self, name: str, modality: Modality | None = None, *, version: int = 0) -> ModelInfo:
        """Describe a model. The daemon is asked once per client and arguments.

        Args:
            name: Name of the model, or of a two-stream pair.
            modality: Which model of a pair is meant; without meaning for others.
            version: The version to describe and to score with; 0 is the newest, also of
                those that the daemon begins to serve later.

        Raises:
            ModelNotFound: The daemon does not serve it.
            DaemonUnavailable: No daemon answered.
            CallFailed: The daemon answered with another status, such as INVALID_ARGUMENT
                for a pair without a modality.
        """
        key = (name, modality, version)
        if key not in self._models:
            request = to_model_request(*key)
            with _client_errors(self._target, model=name):
                response = self._stub.GetModel(request, timeout=self._deadline_s)
            self._models[key] = to_model_info(response, address=name, version=version)
        return self._models[key]

    def score(
        self,
        model: ModelInfo,
        pixels: npt.NDArray[np.uint8] | Jpeg,
        snippet_id: str = "",
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        reply: Reply = EVERYTHING,
    ) -> SnippetScores:
        """Score one snippet.

        Args:
            model: The model to score it with.
            pixels: uint8 of `model.snippet_shape`: rgb [H, W, 3] in BGR order, flow
                [2 * stack_depth, H, W] as planes x0, y0, x1, y1, ... Or a `Jpeg`.
            snippet_id: The caller's name for it, at most 256 characters.
            priority: Which snippets the daemon runs first.
            timeout_s: Longest the snippet may wait in the daemon's queue, seconds; None
                is as long as the call may take.
            reply: What the result holds.

        Raises:
            ValueError: `priority` or `timeout_s` is out of range.
            FrameMismatch: The pixels have another shape or dtype.
            SnippetRejected: The daemon did not score it.
            ModelNotFound: The daemon no longer serves this model or version.
            DaemonUnavailable: No daemon answered.
            CallFailed: The daemon answered with another status; with DEADLINE_EXCEEDED
                when `timeout_s` or the client's `deadline_s` was over.
            BadReply: The answer is not this snippet's, or its outputs not the model's.
        """
        request = new_request(model, to_urgency(priority, timeout_s), reply)
        add_snippet(request, model, snippet_id, pixels)
        with _client_errors(self._target, model=model.address, snippet_id=snippet_id):
            response = self._stub.Score(request, timeout=self._deadline_s)
        return from_response(model, snippet_id, response, reply)

    def score_stream(
        self,
        model: ModelInfo,
        snippets: Iterable[NamedPixels],
        *,
        group_size: int | None = None,
        max_in_flight: int | None = None,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        reply: Reply = EVERYTHING,
    ) -> Generator[StreamResult, None, None]:
        """Score the snippets of one stream, in order.

        The call starts with the first result that is asked for. Between two results the
        input is pulled in the caller's thread, until a reply has come or `max_in_flight`
        snippets are unanswered. So a live feed gets each result when its next snippet
        arrives; `AsyncClient` gives it at once.

        Snippets that are there at the same time travel together, in one message, which costs
        both sides less; one that comes alone goes at once. With a `group_size` they travel in
        groups of that size instead: a group is filled before it is sent, and results are
        given out between two groups. The last group is sent as it is when the input ends or
        raises.

        Close the iterator to cancel the call: leaving a `for` loop does, unless the
        iterator is kept in a variable.

        Args:
            model: The model to score them with.
            snippets: Pairs of snippet id and pixels; both as `score` takes them.
            group_size: Snippets in one message; fewer where `max_in_flight` or
                `model.max_group_size` is less. None joins what is there, up to half of
                `max_in_flight`, so that some travel while others are scored.
            max_in_flight: Most snippets that are sent and not answered; None is as many as
                the client was made with.
            priority: Which snippets the daemon runs first.
            timeout_s: Longest each snippet may wait in the daemon's queue, seconds; later
                it is rejected with DEADLINE_EXCEEDED. None is without limit.
            deadline_s: Longest the whole stream may take, seconds; None is for ever.
            reply: What results hold.

        Returns:
            An iterator over one result per snippet: its scores, or a `SnippetRejected` in
            their place.

        Raises:
            Exception: What the input raised, unchanged, after the results of the
                snippets before it.
            FrameMismatch: The input gave pixels that the model does not take; likewise.
            StreamInterrupted: The daemon ended the stream early.
            DaemonUnavailable: No daemon answered.
            BadReply: The daemon answered out of order, or with outputs not the model's; a
                newer version with other classes counts as that.
            ValueError: `group_size`, `priority` or `timeout_s` is out of range; at once.
        """
        bound = _require_positive(self.max_in_flight if max_in_flight is None else max_in_flight)
        return sync_stream.stream_results(
            self._stub,
            self._in_flight(
                model, group_size, to_urgency(priority, timeout_s), reply, max_in_flight=bound
            ),
            snippets,
            max_in_flight=bound,
            deadline_s=deadline_s,
        )

    def _list(self) -> snippets_pb2.ListModelsResponse:
        request = snippets_pb2.ListModelsRequest()
        with _client_errors(self._target):
            return self._stub.ListModels(request, timeout=self._deadline_s)


class AsyncClient:
    """Scores snippets with a daemon, on asyncio; an async context manager.

    Make it inside the running event loop, and use it there only.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        deadline_s: float | None = DEFAULT_DEADLINE_S,
        shared_memory: bool = True,
        token: str | None = None,
        tls: Tls | None = None,
        allow_plaintext_token: bool = False,
    ) -> None:
        """Prepare a connection; arguments and errors are those of `Client`."""
        self._target = target
        self.max_in_flight = _require_positive(max_in_flight)
        self._in_flight = partial(
            _new_in_flight,
            target=target,
            shares_memory=shared_memory and is_on_this_host(target),
        )
        self._deadline_s = deadline_s
        self._models: _Models = {}
        connection = to_connection(
            target, token=token, tls=tls, allow_plaintext_token=allow_plaintext_token
        )
        self._channel = connection.open_async(_CHANNEL_OPTIONS)
        self._stub = connection.authorize(SnippetServiceStub(self._channel))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection and every call on it."""
        await self._channel.close()

    async def models(self) -> tuple[ModelSummary, ...]:
        """List the models that the daemon serves; see `Client.models`."""
        return to_model_summaries(await self._list())

    async def pairs(self) -> tuple[Pair, ...]:
        """List the two-stream pairs; see `Client.pairs`."""
        return to_pairs(await self._list())

    async def model(
        self, name: str, modality: Modality | None = None, *, version: int = 0
    ) -> ModelInfo:
        """Describe a model, asking the daemon once; see `Client.model`."""
        key = (name, modality, version)
        if key not in self._models:
            request = to_model_request(*key)
            with _client_errors(self._target, model=name):
                response = await self._stub.GetModel(request, timeout=self._deadline_s)
            self._models[key] = to_model_info(response, address=name, version=version)
        return self._models[key]

    async def score(
        self,
        model: ModelInfo,
        pixels: npt.NDArray[np.uint8] | Jpeg,
        snippet_id: str = "",
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        reply: Reply = EVERYTHING,
    ) -> SnippetScores:
        """Score one snippet; arguments and errors are those of `Client.score`."""
        request = new_request(model, to_urgency(priority, timeout_s), reply)
        add_snippet(request, model, snippet_id, pixels)
        with _client_errors(self._target, model=model.address, snippet_id=snippet_id):
            response = await self._stub.Score(request, timeout=self._deadline_s)
        return from_response(model, snippet_id, response, reply)

    def score_stream(
        self,
        model: ModelInfo,
        snippets: AsyncIterable[NamedPixels] | Iterable[NamedPixels],
        *,
        group_size: int | None = None,
        max_in_flight: int | None = None,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
        deadline_s: float | None = None,
        reply: Reply = EVERYTHING,
    ) -> AsyncGenerator[StreamResult, None]:
        """Score the snippets of one stream, in order.

        Results and errors are those of `Client.score_stream`. The input is pulled in a
        task, whenever `max_in_flight` leaves room for a group beside the snippets that are
        unanswered or not yet taken from this iterator. A plain iterable is pulled on the
        event loop, so it should be quick.

        Close the iterator to cancel the call at once: `async with aclosing(...)`. After
        a mere `break` the event loop does that, a little later.

        Args:
            model: The model to score them with.
            snippets: Pairs of snippet id and pixels; both as `score` takes them.
            group_size: Snippets in one message; fewer where `max_in_flight` or
                `model.max_group_size` is less. None joins what is there, up to half of
                `max_in_flight`, so that some travel while others are scored.
            max_in_flight: Most snippets that are sent and not answered; None is as many as
                the client was made with.
            priority: Which snippets the daemon runs first.
            timeout_s: Longest each snippet may wait in the daemon's queue, seconds; later
                it is rejected with DEADLINE_EXCEEDED. None is without limit.
            deadline_s: Longest the whole stream may take, seconds; None is for ever.
            reply: What results hold.

        Returns:
            An iterator over one result per snippet: its scores, or a `SnippetRejected` in
            their place.
        """
        bound = _require_positive(self.max_in_flight if max_in_flight is None else max_in_flight)
        return async_stream.stream_results(
            self._stub,
            self._in_flight(
                model, group_size, to_urgency(priority, timeout_s), reply, max_in_flight=bound
            ),
            snippets,
            max_in_flight=bound,
            deadline_s=deadline_s,
        )

    async def _list(self) -> snippets_pb2.ListModelsResponse:
        request = snippets_pb2.ListModelsRequest()
        with _client_errors(self._target):
            return await self._stub.ListModels(request, timeout=self._deadline_s)


@contextmanager
def _client_errors(
    target: str, *, model: str = "", snippet_id: str | None = None
) -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as err:
        raise from_status(err, target=target, model=model, snippet_id=snippet_id) from err


def _new_in_flight(
    model: ModelInfo,
    group_size: int | None,
    urgency: Urgency,
    reply: Reply,
    *,
    target: str,
    max_in_flight: int,
    shares_memory: bool,
) -> InFlight:
    if group_size is not None and group_size < 1:
        raise ValueError(f"group_size must be at least 1, got {group_size}")
    most_together = _bound_group(group_size or max(1, max_in_flight // 2), max_in_flight, model)
    to_fill = 1 if group_size is None else most_together
    memory = None
    if shares_memory and model.shared_memory:
        # A group is filled beside those that are unanswered.
        memory = make_memory(model.snippet_shape, max_in_flight + to_fill)
    return InFlight(
        model,
        target,
        group_size=to_fill,
        most_together=most_together,
        urgency=urgency,
        reply=reply,
        memory=memory,
    )


def _bound_group(group_size: int, max_in_flight: int, model: ModelInfo) -> int:
    snippet_bytes = math.prod(model.snippet_shape) + _SNIPPET_OVERHEAD_BYTES
    fitting = max(1, _MAX_MESSAGE_BYTES // snippet_bytes)
    return min(group_size, max_in_flight, model.max_group_size, fitting)


def _require_positive(max_in_flight: int) -> int:
    if max_in_flight < 1:
        raise ValueError(f"max_in_flight must be at least 1, got {max_in_flight}")
    return max_in_flight
