"""Makes calls on a daemon over real gRPC, and compares each answer with what it must be."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from grpc import aio

from tests.fuzz.calls import GOOD, LARGE, Call, Sent, is_readable, make_call, may_end
from tests.fuzz.oracle import Fate, Reading, fault_of, fault_of_infer, read
from tests.fuzz.scene import REGION, RGB_BYTES, RGB_SHAPE, Method, Scene
from tests.fuzz.seeds import INFER_STREAM, SCORE, SCORE_STREAM
from tests.fuzz.tally import HUNG_UP, OK, Tally
from tsnd.v1 import model_pb2, snippets_pb2
from tsnd_daemon.shared_memory import FOLDER

CONCURRENT_CALLS = 32
PROBE_EVERY = 2_000
HANG_S = 30.0
_CHANNELS = 4
_SHRUNK_BYTES = 700  # less than any snippet
_REFUSALS = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"),
    *("UNIMPLEMENTED", "ALREADY_EXISTS", "OUT_OF_RANGE", "DEADLINE_EXCEEDED"),
}
"""Statuses that say what is wrong with a call; all others are faults."""


class Driver:
    """Makes calls; what comes of them is in its tally."""

    def __init__(self, target: str, scene: Scene, seed: int) -> None:
        self._target, self.scene, self._seed = target, scene, seed
        self._channels: Sequence[aio.Channel] = ()
        self.tally = Tally()
        self._next = self._probes = 0

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """Keep connections open."""
        # Else channels to the same address would share one connection.
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [
            aio.insecure_channel(self._target, options=options) for _ in range(_CHANNELS)
        ]
        try:
            yield
        finally:
            for channel in self._channels:
                await channel.close()

    async def run(self, messages: int) -> None:
        """Make calls, one after the other in order, until so many messages have been sent."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONCURRENT_CALLS):
                tasks.create_task(self._work(messages))

    async def make(self, index: int) -> None:
        """Make one call."""
        call = make_call(self._seed, index, self.scene)
        self.tally.calls += 1
        self.tally.sent += len(call.messages)
        self.tally.kinds.update(sent.kind for sent in call.messages)
        answers: list[str] = []
        try:
            async with asyncio.timeout(HANG_S):
                with _region(call) as fd:
                    answers = await self._answers(call, fd)
        except TimeoutError:
            self.tally.blame(index, f"{call.path} hangs: no answer in {HANG_S:.0f} s")
        except AssertionError as err:
            self.tally.blame(index, f"{call.path}: {err}")
        except aio.AioRpcError as err:
            self.tally.blame(index, f"{call.path}: {err.code().name}: {err.details()}")
        name = call.path.rpartition(".")[2] if call.path in self.scene.by_path else "unknown"
        self.tally.note(name, answers or ["fault"] * len(call.messages))

    def unary(self, path: str, data: bytes, index: int = 0) -> Any:
        """Begin a call of a method with one request and one reply; await it."""
        method: Any = self._channels[index % _CHANNELS].unary_unary(path)
        return method(data)

    async def probe(self) -> None:
        """Check that a good request gets what it should, whatever was sent before."""
        self._probes += 1
        request = snippets_pb2.ScoreRequest(model="tiny_rgb")
        raw = self._probes.to_bytes(4, "little") * (RGB_BYTES // 4)
        request.snippets.add(id="probe", modality=model_pb2.MODALITY_RGB, shape=RGB_SHAPE, raw=raw)
        try:
            async with asyncio.timeout(HANG_S):
                reply = await self.unary(SCORE, request.SerializeToString())
        except (aio.AioRpcError, TimeoutError) as err:
            self.tally.blame(None, f"a good request fails after {self.tally.sent} messages: {err}")
            return
        response = snippets_pb2.ScoreResponse.FromString(reply)
        if fault := fault_of(response, request.snippets[0], request):
            self.tally.blame(None, f"after {self.tally.sent} messages: {fault}")

    async def _work(self, messages: int) -> None:
        while self.tally.sent < messages and not self.tally.has_seen_enough:
            index, self._next = self._next, self._next + 1
            await self.make(index)
            if self.tally.sent // PROBE_EVERY > self._probes:
                await self.probe()

    async def _answers(self, call: Call, fd: int | None) -> list[str]:
        """Make a call; returns what each of its messages was answered with."""
        method = self.scene.by_path.get(call.path)
        if call.path == SCORE_STREAM:
            return await self._score_stream(call, fd)
        if method is not None and method.client_streaming:
            return await self._stream(call, method)
        if method is not None and method.server_streaming:
            return [await self._first_reply(call)]
        return [await self._single(call)]

    async def _single(self, call: Call) -> str:
        (sent,) = call.messages
        try:
            reply = await self.unary(call.path, sent.data, call.index)
        except aio.AioRpcError as err:
            _check_refused(err, sent.kind)
            return err.code().name
        method = self.scene.by_path.get(call.path)
        assert method is not None, "a method that there is not is answered"
        assert is_readable(method, sent.data), "a message that cannot be read is answered"
        if call.path == SCORE:
            self._check_score(reply, read(sent.data), sent.kind)
        elif sent.kind == GOOD:
            request = method.request.FromString(sent.data)
            _check(fault_of_infer(method.response.FromString(reply), request))
            self.tally.good += 1
        return OK

    def _check_score(self, reply: bytes, reading: Reading, kind: str) -> None:
        assert reading.request is not None
        assert len(reading.snippets) == 1, f"Score answers {len(reading.snippets)} snippets"
        response = snippets_pb2.ScoreResponse.FromString(reply)
        _check(fault_of(response, reading.snippets[0], reading.request))
        self.tally.good += kind == GOOD

    async def _first_reply(self, call: Call) -> str:
        """Wait for one answer of a call that has no end, and go."""
        method: Any = self._channels[0].unary_stream(call.path)
        stream = method(call.messages[0].data)
        try:
            reply = await stream.read()
        except aio.AioRpcError as err:
            _check_refused(err, call.messages[0].kind)
            return err.code().name
        finally:
            stream.cancel()
        assert reply is not aio.EOF, "no answer"
        return OK

    async def _stream(self, call: Call, method: Method) -> list[str]:
        """Send the messages of a stream of which each gets one answer, or ends it."""
        stream: Any = self._channels[call.index % _CHANNELS].stream_stream(call.path)()
        answers: list[str] = []
        writing = asyncio.create_task(_write(stream, call.messages))
        try:
            while (reply := await stream.read()) is not aio.EOF:
                assert len(answers) < len(call.messages), "an answer to nothing"
                answers.append(self._check_reply(reply, call.messages[len(answers)], method))
        except aio.AioRpcError as err:
            _check_refused(err, call.messages[-1].kind)
            ends = may_end(method, call.messages[len(answers)])
            _check("" if ends else f"message {len(answers)} ends the stream: {err.details()}")
            answers.append(err.code().name)
        finally:
            writing.cancel()
        assert len(answers) == len(call.messages), f"{len(call.messages)} messages, {answers}"
        return answers

    def _check_reply(self, reply: bytes, sent: Sent, method: Method) -> str:
        """Check one reply of a stream; returns OK, or that it says what is wrong."""
        assert is_readable(method, sent.data), "a message that cannot be read is answered"
        if method.path != INFER_STREAM:
            return OK
        request: Any = method.request.FromString(sent.data)
        response: Any = method.response.FromString(reply)
        assert response.infer_response.id == request.id, f"{request.id!r} is answered late"
        if sent.kind == GOOD:
            _check(response.error_message or fault_of_infer(response.infer_response, request))
            self.tally.good += 1
        return "refused" if response.error_message else OK

    async def _score_stream(self, call: Call, fd: int | None) -> list[str]:
        stream: Any = self._channels[call.index % _CHANNELS].stream_stream(call.path)()
        if call.hangs_up_after is not None:
            # Without reading what they are answered with.
            await _write(stream, call.messages[: call.hangs_up_after])
            stream.cancel()
            return [HUNG_UP] * len(call.messages)
        items, messages = _items(stream), call.messages
        answers: list[str] = []
        if fd is not None:  # what shrinks is attached first
            await stream.write(messages[0].data)
            answers.append(await self._next_answer(items, read(messages[0].data), GOOD))
            messages = messages[1:]
        writing = asyncio.create_task(_write(stream, messages, call.shrinks_after, fd))
        try:
            for sent in messages:
                answers.append(await self._next_answer(items, read(sent.data), sent.kind))
            extra = await anext(items, None)
            assert extra is None, f"an answer to nothing: {extra}"
        except aio.AioRpcError as err:
            _check_end(err, call, len(answers))
            answers.append(err.code().name)
        finally:
            writing.cancel()
        return answers

    async def _next_answer(
        self,
        items: AsyncIterator[snippets_pb2.SnippetResult | snippets_pb2.Attachment],
        reading: Reading,
        kind: str,
    ) -> str:
        """Take what answers a message from a stream; returns the first of its errors, or OK."""
        if reading.fate is Fate.ATTACHED or (
            reading.request is not None and reading.request.HasField("attach")
        ):
            attachment = await anext(items)
            assert isinstance(attachment, snippets_pb2.Attachment), f"no attachment: {attachment}"
            assert kind != GOOD or not attachment.refusal, attachment.refusal
            self.tally.good += kind == GOOD
            return "refused" if attachment.refusal else OK
        answers = set[str]()
        for snippet in reading.snippets or [snippets_pb2.Snippet()]:
            result = await anext(items, None)
            assert isinstance(result, snippets_pb2.SnippetResult), f"{snippet.id!r}: {result}"
            assert reading.request is not None, "a message that cannot be read is answered"
            answers.add(_answer_of(result, snippet, reading.request))
        assert kind != GOOD or answers == {OK}, f"a good message is answered with {answers}"
        self.tally.good += kind == GOOD
        return min(answers - {OK}, default=OK)


def _answer_of(
    result: snippets_pb2.SnippetResult,
    snippet: snippets_pb2.Snippet,
    request: snippets_pb2.ScoreRequest,
) -> str:
    """Check one result of a stream; returns OK, or its error in words."""
    if result.HasField("response"):
        _check(fault_of(result.response, snippet, request))
        return OK
    error = result.error
    assert error.snippet_id == snippet.id, f"{error.snippet_id!r} instead of {snippet.id!r}"
    name = next(code.name for code in grpc.StatusCode if code.value[0] == error.code)
    assert name in _REFUSALS, f"snippet {snippet.id!r}: {name}: {error.message}"
    assert name != "DEADLINE_EXCEEDED" or request.timeout_us, error.message
    return f"a result {name}"


def _check(fault: str) -> None:
    assert not fault, fault


def _check_refused(err: aio.AioRpcError, kind: str) -> None:
    """A status that says what is wrong, and never for what is good."""
    described = f"{err.code().name}: {err.details()}"
    assert err.code().name in _REFUSALS, described
    assert kind != GOOD, f"a good message is refused: {described}"
    assert kind != LARGE or err.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, described


def _check_end(err: aio.AioRpcError, call: Call, answered: int) -> None:
    """Only the last message ends a stream, and only one that no result could answer."""
    sent = call.messages[min(answered, len(call.messages) - 1)]
    _check_refused(err, sent.kind)
    described = f"message {answered} of {len(call.messages)}: {err.code().name}: {err.details()}"
    assert answered == len(call.messages) - 1, described
    if sent.kind == LARGE:
        return
    assert err.code() is grpc.StatusCode.INVALID_ARGUMENT, described
    fate = read(sent.data).fate
    assert fate is Fate.ENDS or (fate is Fate.MAY_END and "fields" in (err.details() or "")), (
        described
    )


async def _items(
    stream: Any,
) -> AsyncIterator[snippets_pb2.SnippetResult | snippets_pb2.Attachment]:
    """What a ScoreStream answers, one by one."""
    while (data := await stream.read()) is not aio.EOF:
        reply = snippets_pb2.ScoreStreamResponse.FromString(data)
        if reply.HasField("attachment"):
            assert not reply.results, "an attachment beside results: which was first?"
            yield reply.attachment
        else:
            assert reply.results, "a reply of nothing"
        for result in reply.results:
            yield result


async def _write(
    stream: Any,
    messages: Sequence[Sent],
    shrinks_after: int | None = None,
    fd: int | None = None,
) -> None:
    """Send messages and the end; a stream that has ended meanwhile is left to who reads."""
    try:
        for number, sent in enumerate(messages):
            if number == shrinks_after and fd is not None:
                os.truncate(fd, _SHRUNK_BYTES)
            await stream.write(sent.data)
        await stream.done_writing()
    except (aio.AioRpcError, asyncio.InvalidStateError, aio.UsageError):
        return


@contextmanager
def _region(call: Call) -> Iterator[int | None]:
    """Make the shared memory of a call, if it has any."""
    if not call.region_key:
        yield None
        return
    with shared_region(call.region_key) as fd:
        yield fd


@contextmanager
def shared_region(key: str) -> Iterator[int]:
    """Make a shared memory object that holds `REGION`; yields its file."""
    path = FOLDER / key
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, REGION)
        yield fd
    finally:
        os.close(fd)
        path.unlink()


@contextmanager
def sealed_region(key: str) -> Iterator[int]:
    """Make memory that holds `REGION` and cannot shrink; yields its file."""
    fd = os.memfd_create(key, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, REGION)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        yield fd
    finally:
        os.close(fd)
