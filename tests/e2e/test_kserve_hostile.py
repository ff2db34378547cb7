"""What a hostile or broken KServe client sends ends in an error, and the daemon keeps serving."""

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import simplejpeg
from grpc import aio

from tests.daemons import running_daemon
from tests.kserve import (
    SHAPE,
    SIZE,
    Gate,
    in_region,
    infer_request,
    marks_of,
    register,
    set_parameter,
    shared_object,
    status_of,
    stub_of,
    tensor,
    wanted,
)
from tests.streams import frame, marks, wait_for_samples
from tsnd.kserve import inference_pb2 as pb
from tsnd.kserve import inference_pb2_grpc
from tsnd_daemon.executors.synthetic import SyntheticExecutor
from tsnd_daemon.shared_memory import FOLDER

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
async def daemon(tiny_repository):
    async with running_daemon(tiny_repository, make_executor=SyntheticExecutor) as daemon:
        yield daemon
        assert await still_serves(daemon)


async def still_serves(daemon):
    response = await stub_of(daemon).ModelInfer(infer_request("5"))
    return marks_of(response) == [marks(0, 5)]


async def refusal(daemon, request):
    """The message with which a request is refused as invalid."""
    code, details = await status_of(stub_of(daemon).ModelInfer(request))
    assert code is INVALID, details
    assert len(details) < 1_000
    return details


async def test_random_bytes_as_messages_end_in_a_status(daemon):
    rng = np.random.default_rng(0)
    raw: Any = daemon.channel.unary_unary(INFER)
    for length in rng.integers(0, 400, 200):
        code, _ = await status_of(raw(rng.bytes(int(length))))
        assert code is not grpc.StatusCode.OK


async def test_damaged_requests_end_in_a_status(daemon):
    rng = np.random.default_rng(1)
    message = infer_request("good", priority=1, sequence_id="s").SerializeToString()
    raw: Any = daemon.channel.unary_unary(INFER)
    for _ in range(300):
        damaged = bytearray(message[: int(rng.integers(1, 200))])
        damaged[int(rng.integers(0, len(damaged)))] ^= int(rng.integers(1, 256))
        code, _ = await status_of(raw(bytes(damaged)))
        assert code is not grpc.StatusCode.OK


async def test_messages_of_countless_fields_are_refused_unread(daemon):
    raw: Any = daemon.channel.unary_unary(INFER)
    outputs, empty_input = b"\x32\x00" * 500_000, b"\x2a\x00" * 500_000
    parameters = b"\x22\x02\x0a\x00" * 250_000
    nested = bytes([0x2A]) + b"\xc0\x84\x3d" + b"\x22\x02\x0a\x00" * 250_000
    raws = b"\x3a\x00" * 500_000
    for message in (outputs, empty_input, parameters, nested, raws):
        code, details = await status_of(raw(message))
        assert code is INVALID
        assert "is no ModelInferRequest" in details


async def test_random_bytes_on_a_stream_end_that_stream_alone(daemon):
    call: Any = daemon.channel.stream_stream(
        STREAM, response_deserializer=pb.ModelStreamInferResponse.FromString
    )()
    await call.write(infer_request("1").SerializeToString())
    await call.write(b"\xff" * 50)
    assert (await call.read()).infer_response.id == "1"
    with pytest.raises(aio.AioRpcError, match="is no ModelInferRequest"):
        await call.read()


def edited(edit):
    """A good request with something changed."""
    request = infer_request("good")
    edit(request)
    return request


def with_input(**fields):
    return edited(lambda r: r.inputs[0].MergeFrom(tensor(**{"shape": [], **fields})))


def shaped(shape):
    request = infer_request("good")
    del request.inputs[0].shape[:]
    request.inputs[0].shape.extend(shape)
    return request


def param(name, value):
    return edited(lambda r: set_parameter(r.parameters, name, value))


def contents(*elements, keep_raw=False):
    request = infer_request("good")
    request.inputs[0].contents.uint_contents.extend(elements)
    if not keep_raw:
        del request.raw_input_contents[:]
    return request


def outputs(*wanted_outputs):
    return edited(lambda r: r.outputs.extend(wanted_outputs))


INVALID_REQUESTS = {
    "no input": (edited(lambda r: r.ClearField("inputs")), "0 inputs (none), and model"),
    "two inputs": (edited(lambda r: r.inputs.append(tensor())), "2 inputs ('snippets', 'snip"),
    "a wrong input": (with_input(name="data"), "takes one, 'snippets'"),
    "a long input": (with_input(name="x" * 100_000), "takes one, 'snippets'"),
    "a wrong type": (with_input(datatype="FP32"), "is of 'FP32', expected UINT8"),
    "no type": (edited(lambda r: r.inputs[0].ClearField("datatype")), "is of '', expected UINT8"),
    "no shape": (shaped([]), "of shape [rows, 16, 21, 3], got []"),
    "no batch axis": (shaped(SHAPE), "got [16, 21, 3]. The first axis counts snippets"),
    "a turned shape": (shaped([1, 21, 16, 3]), "got [1, 21, 16, 3]"),
    "a negative axis": (shaped([1, -16, -21, 3]), "got [1, -16, -21, 3]"),
    "negative rows": (shaped([-1, *SHAPE]), "-1 rows: from 1 to 16"),
    "no rows": (shaped([0, *SHAPE]), "0 rows: from 1 to 16"),
    "many rows": (shaped([17, *SHAPE]), "17 rows: from 1 to 16 are allowed (max_group_size)"),
    "huge rows": (shaped([2**63 - 1, *SHAPE]), "rows: from 1 to 16"),
    "more rows than bytes": (shaped([2, *SHAPE]), "need 2016 bytes of UINT8, got 1008"),
    "many axes": (shaped([1] * 4_000), "got 4000 axes"),
    "no contents": (edited(lambda r: r.ClearField("raw_input_contents")), "has 0 entries, expe"),
    "too many contents": (edited(lambda r: r.raw_input_contents.append(b"")), "has 2 entries"),
    "short contents": (
        edited(lambda r: r.raw_input_contents.__setitem__(0, b"x")),
        "need 1008 bytes of UINT8, got 1",
    ),
    "both contents": (contents(*range(9), keep_raw=True), "has contents, and raw_input_contents"),
    "few elements": (contents(1, 2, 3), "need 1008 bytes of UINT8, got 3"),
    "large elements": (contents(*[256] * SIZE), "go up to 256, and UINT8 to 255"),
    "too many elements": (contents(*[0] * (2**20 + 1)), "at most 1048576 are read one by one"),
    "empty contents": (
        edited(lambda r: r.inputs[0].contents.SetInParent()),
        "its contents have no uint_contents",
    ),
    "an unknown output": (outputs(wanted("probs")), "output 'probs' is not one of the model's"),
    "an output twice": (outputs(wanted("scores"), wanted("scores")), "'scores' is asked for twice"),
    "negative classes": (
        outputs(wanted("scores", classification=-1)),
        "parameter 'classification' is -1, expected 0 or more",
    ),
    "classes as text": (
        outputs(wanted("scores", classification="3")),
        "'classification' is string_param, expected a whole number",
    ),
    "an unknown region": (
        outputs(in_region(wanted("scores"), "nowhere", 20)),
        "there is no shared memory 'nowhere'",
    ),
    "a region by number": (
        outputs(wanted("scores", shared_memory_region=7)),
        "'shared_memory_region' is int64_param, expected a text",
    ),
    "a negative priority": (param("priority", -1), "parameter 'priority' is -1"),
    "a priority as text": (param("priority", "high"), "'priority' is string_param, expected a wh"),
    "a fractional timeout": (param("timeout", 0.5), "'timeout' is double_param, expected a whole"),
    "a negative timeout": (param("timeout", -5), "parameter 'timeout' is -5"),
    "a sequence that is true": (param("sequence_id", True), "'sequence_id' is bool_param"),
    "a long sequence": (param("sequence_id", "s" * 300), "sequence_id has 300 characters"),
    "a flag that is none": (
        param("triton_enable_empty_final_response", 1),
        "is int64_param, expected true or false",
    ),
    "a parameter without value": (
        edited(lambda r: r.parameters["priority"].SetInParent()),
        "'priority' is without a value",
    ),
    "a long id": (edited(lambda r: setattr(r, "id", "i" * 1000)), "its id has 1000 characters"),
    "a version that is none": (edited(lambda r: setattr(r, "model_version", "new")), "version 'n"),
    "version 0": (edited(lambda r: setattr(r, "model_version", "0")), "expected a number from 1"),
    "a long version": (
        edited(lambda r: setattr(r, "model_version", "9" * 5_000)),
        "expected a num",
    ),
}


@pytest.mark.parametrize(("request_", "reason"), INVALID_REQUESTS.values(), ids=INVALID_REQUESTS)
async def test_what_cannot_be_is_refused_with_a_reason(daemon, request_, reason):
    assert reason in await refusal(daemon, request_)


async def test_a_stream_answers_each_invalid_request_in_its_place(daemon):
    requests = [item for request, _ in INVALID_REQUESTS.values() for item in (request, ok())]
    replies = [reply async for reply in stub_of(daemon).ModelStreamInfer(iter(requests))]

    assert len(replies) == len(requests)
    for (request, reason), reply in zip(INVALID_REQUESTS.values(), replies[::2], strict=True):
        assert reason in reply.error_message
        assert reply.infer_response.id == request.id
    assert [reply.error_message for reply in replies[1::2]] == [""] * (len(requests) // 2)


def ok():
    return infer_request("1")


async def test_a_message_beyond_the_bound_is_refused_without_reading_it(daemon):
    request = infer_request("big")
    request.raw_input_contents[0] = bytes(5 * 1024 * 1024)
    code, details = await status_of(stub_of(daemon).ModelInfer(request))

    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


def jpeg_request(shape, raw=(), elements=()):
    request = pb.ModelInferRequest(model_name="tiny_rgb", raw_input_contents=raw)
    request.inputs.append(tensor(datatype="BYTES", shape=shape))
    if elements:
        request.inputs[0].contents.bytes_contents.extend(elements)
    return request


JPEG = simplejpeg.encode_jpeg(frame(0, 0), colorspace="BGR")
PACKED = struct.pack("<I", len(JPEG)) + JPEG


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (jpeg_request([1], [PACKED]), "takes BYTES of shape [rows, 1], got [1]"),
        (jpeg_request([1, 2], [PACKED]), "takes BYTES of shape [rows, 1], got [1, 2]"),
        (jpeg_request([2, 1], [PACKED]), "needs 2 elements, got 1"),
        (jpeg_request([1, 1], [PACKED * 3]), "needs 1 elements, got more"),
        (jpeg_request([1, 1], [bytes(4_000_000)]), "needs 1 elements, got more"),
        (jpeg_request([1, 1], [PACKED[:-1]]), "end within an element"),
        (jpeg_request([1, 1], [b"\xff\xff\xff\xff"]), "end within an element"),
        (jpeg_request([1, 1], [b"\x01"]), "end within an element"),
        (jpeg_request([1, 1], [b"\x04\0\0\0nope"]), "no JPEG image"),
        (jpeg_request([1, 1], [], [b"nope"]), "no JPEG image"),
        (jpeg_request([1, 1], [PACKED], [JPEG]), "has contents, and raw_input_contents"),
        (jpeg_request([1, 1]), "raw_input_contents has 0 entries"),
        (jpeg_request([1, 1], [], [JPEG, JPEG]), "needs 1 elements, got more"),
    ],
)
async def test_broken_jpeg_requests_are_refused(daemon, request_, reason):
    assert reason in await refusal(daemon, request_)


async def test_a_jpeg_file_that_breaks_off_fails_its_request(daemon):
    broken = jpeg_request([2, 1], [], [JPEG, JPEG[:-2]])

    assert "a JPEG image cannot be decoded" in await refusal(daemon, broken)


def shared_request(name, rows=1, byte_size=SIZE, offset=0):
    request = pb.ModelInferRequest(model_name="tiny_rgb")
    request.inputs.append(in_region(tensor(shape=[rows, *SHAPE]), name, byte_size, offset))
    return request


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (shared_request("other"), "there is no shared memory 'other'"),
        (shared_request("x" * 10_000), "there is no shared memory 'xxx"),
        (shared_request("in", offset=1), "it has 1008"),
        (shared_request("in", offset=2**62), "it has 1008"),
        (shared_request("in", offset=-1), "'shared_memory_offset' is -1"),
        (shared_request("in", byte_size=-1), "'shared_memory_byte_size' is -1"),
        (shared_request("in", byte_size=2**62), "it has 1008"),
        (shared_request("in", byte_size=1007), "shared_memory_byte_size is 1007"),
        (shared_request("in", rows=2), "need 2016 bytes of UINT8, shared_memory_byte_size is 1008"),
    ],
)
async def test_inputs_outside_of_shared_memory_are_refused(daemon, request_, reason):
    with shared_object(bytes(2 * SIZE)) as key:
        await register(stub_of(daemon), "in", key, SIZE)
        assert reason in await refusal(daemon, request_)


async def test_an_input_in_shared_memory_has_no_contents_besides(daemon):
    with shared_object(bytes(SIZE)) as key:
        await register(stub_of(daemon), "in", key, SIZE)
        request = shared_request("in")
        request.raw_input_contents.append(bytes(SIZE))
        assert "and the message has contents, too" in await refusal(daemon, request)
        jpeg = jpeg_request([1, 1])
        in_region(jpeg.inputs[0], "in", SIZE)
        assert "BYTES in shared memory are not read" in await refusal(daemon, jpeg)


@pytest.mark.parametrize(
    ("byte_size", "offset", "reason"),
    [
        (20, 90, "it has 100"),
        (19, 0, "1 rows need 20 bytes, shared_memory_byte_size is 19"),
        (0, 0, "1 rows need 20 bytes, shared_memory_byte_size is 0"),
        (20, -20, "'shared_memory_offset' is -20"),
    ],
)
async def test_outputs_outside_of_shared_memory_are_refused(daemon, byte_size, offset, reason):
    with shared_object(bytes(100)) as key:
        await register(stub_of(daemon), "out", key, 100)
        request = outputs(in_region(wanted("scores"), "out", byte_size, offset))
        assert reason in await refusal(daemon, request)
        assert (FOLDER / key).read_bytes() == bytes(100)


async def test_classifications_do_not_go_to_shared_memory(daemon):
    with shared_object(bytes(100)) as key:
        await register(stub_of(daemon), "out", key, 100)
        request = outputs(in_region(wanted("scores", classification=2), "out", 100))
        assert "classifications are not written to shared memory" in await refusal(daemon, request)


@pytest.mark.parametrize(
    ("key", "byte_size", "offset", "reason"),
    [
        ("nothing-of-this-name", 10, 0, "cannot be opened"),
        ("../../etc/passwd", 10, 0, "expected a name for shm_open"),
        ("/../etc/passwd", 10, 0, "expected a name for shm_open"),
        ("", 10, 0, "expected a name for shm_open"),
        ("KEY", 0, 0, "0 bytes: from 1 to"),
        ("KEY", 101, 0, "has 100 bytes"),
        ("KEY", 100, 1, "has 100 bytes"),
        ("KEY", 1, 2**64 - 1, "has 100 bytes"),
        ("KEY", 2**63, 0, "bytes: from 1 to"),
    ],
)
async def test_what_is_no_shared_memory_is_not_registered(daemon, key, byte_size, offset, reason):
    with shared_object(bytes(100)) as name:
        code, details = await status_of(
            register(stub_of(daemon), "r", key.replace("KEY", name), byte_size, offset)
        )
    status = await stub_of(daemon).SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest())

    assert code is INVALID
    assert reason in details
    assert not status.regions


@pytest.mark.parametrize("name", ["", "n" * 300])
async def test_a_region_has_a_name_of_a_sensible_length(daemon, name):
    with shared_object(bytes(100)) as key:
        code, details = await status_of(register(stub_of(daemon), name, key, 100))

    assert code is INVALID
    assert "from 1 to 256 are allowed" in details


async def test_the_status_of_a_region_that_there_is_not_is_refused(daemon):
    code, details = await status_of(
        stub_of(daemon).SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest(name="r"))
    )

    assert code is INVALID
    assert "there is no shared memory 'r'" in details


async def test_shared_memory_that_is_turned_off_says_so(tiny_repository):
    async with running_daemon(tiny_repository, max_shared_memory_regions=0) as daemon:
        with shared_object(bytes(100)) as key:
            code, details = await status_of(register(stub_of(daemon), "r", key, 100))

    assert code is INVALID
    assert "shared memory is off here" in details


async def test_memory_that_shrinks_fails_its_requests_and_kills_nobody(tiny_repository):
    gate = Gate()
    options = {"max_batch_size": 1, "max_queue_delay_us": 0}
    async with running_daemon(tiny_repository, make_executor=gate.make, **options) as daemon:
        stub = stub_of(daemon)
        with shared_object(bytes(4 * SIZE)) as key:
            await register(stub, "mine", key, 4 * SIZE)
            first = asyncio.ensure_future(stub.ModelInfer(infer_request("first", rows=2)))
            await wait_for_samples(daemon, {("tsnd_pending_snippets", "tiny_rgb", "1"): 0})
            reads = asyncio.ensure_future(
                status_of(stub.ModelInfer(shared_request("mine", 3, 3 * SIZE)))
            )
            request = infer_request("writes")
            request.outputs.append(in_region(wanted("scores"), "mine", 20, 2 * SIZE))
            writes = asyncio.ensure_future(status_of(stub.ModelInfer(request)))
            await wait_for_samples(daemon, {("tsnd_pending_snippets", "tiny_rgb", "1"): 4})
            os.truncate(FOLDER / key, 100)
            gate.open()
            answers = [await reads, await writes]
            await first
            size = (FOLDER / key).stat().st_size
        assert await still_serves(daemon)

    for code, details in answers:
        assert code is INVALID
        assert "has become smaller than it was said to be" in details
    assert size == 100


async def test_memory_that_is_unregistered_still_serves_what_was_accepted(tiny_repository):
    gate = Gate()
    options = {"max_batch_size": 1, "max_queue_delay_us": 0}
    async with running_daemon(tiny_repository, make_executor=gate.make, **options) as daemon:
        stub = stub_of(daemon)
        with shared_object(frame(0, 7).tobytes()) as key:
            await register(stub, "mine", key, SIZE)
            first = asyncio.ensure_future(stub.ModelInfer(infer_request("first", rows=2)))
            await wait_for_samples(daemon, {("tsnd_pending_snippets", "tiny_rgb", "1"): 0})
            scored = asyncio.ensure_future(stub.ModelInfer(shared_request("mine")))
            await wait_for_samples(daemon, {("tsnd_pending_snippets", "tiny_rgb", "1"): 1})
            await stub.SystemSharedMemoryUnregister(pb.SystemSharedMemoryUnregisterRequest())
        gate.open()
        response = await scored
        await first

    assert marks_of(response) == [marks(0, 7)]


async def test_a_client_that_dies_gives_up_its_memory_to_others(tiny_repository):
    async with running_daemon(tiny_repository, max_shared_memory_regions=2) as daemon:
        async with aio.insecure_channel(daemon.endpoints.grpc) as channel:
            dying: Any = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            with shared_object(bytes(2 * SIZE)) as key:
                await register(dying, "first", key, SIZE)
                await register(dying, "second", key, SIZE, offset=SIZE)
                call = dying.ModelStreamInfer(iter([shared_request("first")] * 10))
                with shared_object(bytes(SIZE)) as other:
                    full = await status_of(register(dying, "third", other, SIZE))
            call.cancel()
        stub = stub_of(daemon)
        with shared_object(bytes(SIZE)) as key:
            await until_accepted(lambda: register(stub, "third", key, SIZE))
            await until_accepted(lambda: register(stub, "second", key, SIZE))
            response = await stub.ModelInfer(shared_request("second"))
            status = await stub.SystemSharedMemoryStatus(pb.SystemSharedMemoryStatusRequest())

    assert full[0] is INVALID
    assert "2 regions are open, as many as may be" in full[1]
    assert len(response.outputs) == 2
    assert set(status.regions) == {"second", "third"}


async def until_accepted(call):
    """Try until the daemon has noticed that a client has gone."""
    async with asyncio.timeout(10):
        while (await status_of(call()))[0] is not grpc.StatusCode.OK:
            pass


async def test_regions_are_closed_when_the_daemon_stops(tiny_repository):
    def open_objects(key):
        entries = list(Path("/proc/self/fd").iterdir())
        links = [str(entry.readlink()) for entry in entries if entry.is_symlink()]
        return [link for link in links if key in link]

    with shared_object(bytes(100)) as key:
        async with running_daemon(tiny_repository) as daemon:
            await register(stub_of(daemon), "r", key, 100)
            before = open_objects(key)
        after = open_objects(key)

    assert (len(before), after) == (1, [])


async def test_a_client_that_hangs_up_in_the_middle_disturbs_nobody(daemon):
    for _ in range(10):
        async with aio.insecure_channel(daemon.endpoints.grpc) as channel:
            call: Any = channel.stream_stream(STREAM)()
            for _ in range(5):
                await call.write(infer_request("1").SerializeToString())
            call.cancel()


async def test_methods_that_there_are_not_are_unimplemented(daemon):
    for method, reason in [("Reboot", ""), ("CudaSharedMemoryRegister", "Use system shared mem")]:
        unknown: Any = daemon.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        code, details = await status_of(unknown(b"\xff" * 9))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert reason in details


@pytest.mark.parametrize(
    "call", ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]
)
async def test_other_repositories_there_are_not(daemon, call):
    request = getattr(pb, f"{call}Request")(repository_name="other")
    code, details = await status_of(getattr(stub_of(daemon), call)(request))

    assert code is INVALID
    assert "there is one repository here" in details
