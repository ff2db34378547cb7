"""The snippet service: accepts snippets, awaits their scores, replies in order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from grpc import aio

from tsnd.v1 import model_pb2, snippets_pb2, snippets_pb2_grpc
from tsnd_daemon.batcher import Batcher
from tsnd_daemon.errors import Draining, ModelNotFound, RequestError
from tsnd_daemon.metrics import Metrics
from tsnd_daemon.services.messages import error_response, score_response
from tsnd_daemon.snippets import Scores
from tsnd_daemon.validation import SnippetContract

Context = aio.ServicerContext[snippets_pb2.ScoreRequest, snippets_pb2.ScoreStreamResponse]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as the service sees it."""

    manifest: model_pb2.ModelManifest
    contract: SnippetContract
    batcher: Batcher
    max_batch_size: int


@dataclass(frozen=True, slots=True, eq=False)
class _Accepted:
    """A snippet of a stream whose scores are to come."""

    snippet_id: str
    manifest: model_pb2.ModelManifest
    scores: asyncio.Future[Scores]


@dataclass(frozen=True, slots=True, eq=False)
class _Refused:
    """A snippet of a stream that was refused."""

    snippet_id: str
    error: RequestError


_Item = _Accepted | _Refused | None
"""What became of a request, in the stream's order; None is the end."""


class SnippetService(snippets_pb2_grpc.SnippetServiceServicer):
    """The servicer of SnippetService."""

    def __init__(
        self,
        models: Mapping[str, ServedModel],
        metrics: Metrics,
        *,
        max_in_flight_per_stream: int,
    ) -> None:
        """Serve some models.

        Args:
            models: By name.
            metrics: Where it reports.
            max_in_flight_per_stream: Most unanswered snippets of one stream.
        """
        self._models = dict(sorted(models.items()))
        self._metrics = metrics
        self._max_in_flight = max_in_flight_per_stream
        self._readers: set[asyncio.Task[None]] = set()
        self._draining = False
        self._open_calls = 0
        self._all_answered = asyncio.Event()

    async def drain(self) -> bool:
        """Accept nothing more, and wait until all that was accepted is answered.

        Open streams stop reading, answer what they hold, and end with UNAVAILABLE; so does
        every new call.

        Returns:
            Whether anyone had to be answered.
        """
        self._draining = True
        for reader in self._readers:
            reader.cancel()
        if not self._open_calls:
            return False
        self._all_answered.clear()
        await self._all_answered.wait()
        return True

    @contextlib.contextmanager
    def _open_call(self) -> Iterator[None]:
        """Count a call that `drain` must wait for."""
        self._open_calls += 1
        try:
            yield
        finally:
            self._open_calls -= 1
            if not self._open_calls:
                self._all_answered.set()

    async def Score(
        self, request: snippets_pb2.ScoreRequest, context: Context
    ) -> snippets_pb2.ScoreResponse:
        """Score one snippet."""
        try:
            with self._open_call():
                manifest, scores = self._accept(request, _deadline_ns(context))
                return score_response(request.snippet.id, manifest, await scores)
        except RequestError as err:
            self._metrics.rejected.labels(err.code.name).inc()
            raise

    # Reads and writes by itself instead of being a generator, which gRPC allows too.
    async def ScoreStream(  # type: ignore[override]
        self, _requests: AsyncIterator[snippets_pb2.ScoreRequest], context: Context
    ) -> None:
        """Score the snippets of a stream, at most max_in_flight_per_stream at a time."""
        if self._draining:
            raise Draining("the daemon is stopping; send the stream to another, or try later.")
        accepted: asyncio.Queue[_Item] = asyncio.Queue()
        window = asyncio.Semaphore(self._max_in_flight)
        reader = asyncio.create_task(self._read(context, accepted, window))
        # Not by the reader itself: one that is cancelled before it starts never gets there.
        reader.add_done_callback(lambda _: accepted.put_nowait(None))
        self._readers.add(reader)
        with self._metrics.streams.track_inprogress(), self._open_call():
            try:
                while (item := await accepted.get()) is not None:
                    await context.write(await self._reply(item))
                    window.release()
            finally:
                self._readers.discard(reader)
                reader.cancel()
                _withdraw(accepted)
        with contextlib.suppress(asyncio.CancelledError):
            await reader
        if self._draining:
            raise Draining(
                "the daemon is stopping. All snippets that it had accepted are answered; send "
                "the rest to another, or reconnect."
            )

    async def ListModels(
        self, _request: snippets_pb2.ListModelsRequest, _context: Context
    ) -> snippets_pb2.ListModelsResponse:
        """List the models."""
        return snippets_pb2.ListModelsResponse(
            models=[
                snippets_pb2.ModelSummary(
                    name=name,
                    version=model.manifest.version,
                    modality=model.manifest.modality,
                    classes=len(model.manifest.labels),
                )
                for name, model in self._models.items()
            ]
        )

    async def GetModel(
        self, request: snippets_pb2.GetModelRequest, _context: Context
    ) -> snippets_pb2.GetModelResponse:
        """Describe one model."""
        model = self._find(request.name, request.version)
        return snippets_pb2.GetModelResponse(
            manifest=model.manifest, max_batch_size=model.max_batch_size
        )

    async def _read(
        self,
        context: Context,
        accepted: asyncio.Queue[_Item],
        window: asyncio.Semaphore,
    ) -> None:
        """Accept a stream's snippets while its window is open."""
        deadline_ns = _deadline_ns(context)
        while True:
            await window.acquire()
            message: object = await context.read()
            if message is aio.EOF:
                return
            request = cast("snippets_pb2.ScoreRequest", message)
            accepted.put_nowait(self._try_accept(request, deadline_ns))

    def _try_accept(
        self, request: snippets_pb2.ScoreRequest, deadline_ns: int | None
    ) -> _Accepted | _Refused:
        snippet_id = request.snippet.id
        try:
            manifest, scores = self._accept(request, deadline_ns)
        except RequestError as err:
            return _Refused(snippet_id, err)
        return _Accepted(snippet_id, manifest, scores)

    def _accept(
        self, request: snippets_pb2.ScoreRequest, deadline_ns: int | None
    ) -> tuple[model_pb2.ModelManifest, asyncio.Future[Scores]]:
        if self._draining:
            raise Draining("the daemon is stopping; send the snippet to another, or try later.")
        model = self._find(request.model, request.version)
        snippet = model.contract.validate(request.snippet)
        return model.manifest, model.batcher.submit(snippet, deadline_ns=deadline_ns)

    async def _reply(self, item: _Accepted | _Refused) -> snippets_pb2.ScoreStreamResponse:
        if isinstance(item, _Refused):
            return self._refusal(item.snippet_id, item.error)
        try:
            scores = await item.scores
        except RequestError as err:
            return self._refusal(item.snippet_id, err)
        response = score_response(item.snippet_id, item.manifest, scores)
        return snippets_pb2.ScoreStreamResponse(response=response)

    def _refusal(self, snippet_id: str, error: RequestError) -> snippets_pb2.ScoreStreamResponse:
        self._metrics.rejected.labels(error.code.name).inc()
        return error_response(snippet_id, error)

    def _find(self, name: str, version: int) -> ServedModel:
        model = self._models.get(name)
        if model is None:
            raise ModelNotFound(
                f"there is no model {name[:128]!r} here; there are {', '.join(self._models)}."
            )
        if version not in (0, model.manifest.version):
            raise ModelNotFound(
                f"model {name!r} has version {model.manifest.version} here, not {version}. Send 0 "
                "for the version being served."
            )
        return model


def _deadline_ns(context: Context) -> int | None:
    """Return the client's deadline on the monotonic clock."""
    left_s = context.time_remaining()
    return None if left_s is None else time.monotonic_ns() + int(left_s * 1e9)


def _withdraw(accepted: asyncio.Queue[_Item]) -> None:
    """Cancel what a stream that is gone still waits for."""
    while not accepted.empty():
        item = accepted.get_nowait()
        if isinstance(item, _Accepted):
            item.scores.cancel()
