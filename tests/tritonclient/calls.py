"""What Triton's own client gets from a daemon; run by tests/e2e/test_tritonclient.py.

Not by pytest as the other tests are: the client's messages and our own of the same names
cannot be in one process, so this runs in another, beside a daemon that is named by the
environment. Nothing here may import tsnd.kserve.
"""

import asyncio
import contextlib
import os
import queue
import re
import secrets
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import tritonclient.grpc as triton
import tritonclient.grpc.aio as aio_triton
from tritonclient.utils import InferenceServerException, shared_memory

from tsnd_client import Client

TARGET = os.environ["TSND_TEST_TARGET"]
SHAPES = {"tiny_rgb": (16, 21, 3), "tiny_flow": (10, 16, 21)}
OUTPUTS = {"scores": 5, "features": 10}
WAIT_S = 30
DOCUMENT = Path(__file__).parents[2] / "docs" / "kserve.md"

models = pytest.mark.parametrize("model", SHAPES)


@pytest.fixture
def client():
    with triton.InferenceServerClient(TARGET) as client:
        yield client


def pixels_of(model, rows=1, seed=0):
    shape = (rows, *SHAPES[model])
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Answers:
    """What a callback was called with."""

    def __init__(self):
        self._queue: queue.Queue[tuple[Any, Any]] = queue.Queue()

    def note(self, result, error):
        self._queue.put((result, error))

    def next(self):
        return self._queue.get(timeout=WAIT_S)


def input_of(pixels, module=triton):
    tensor = module.InferInput("snippets", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return [tensor]


def native_scores(model, pixels):
    """Scores and features of each snippet from the daemon's own API."""
    with Client(TARGET) as client:
        info = client.model(model)
        found = [client.score(info, snippet) for snippet in pixels]
    return {
        "scores": np.stack([f.scores for f in found]),
        "features": np.stack([f.features for f in found]),
    }


def assert_native(model, pixels, result):
    for name, expected in native_scores(model, pixels).items():
        assert result.as_numpy(name).dtype == np.float32
        np.testing.assert_array_equal(result.as_numpy(name), expected, strict=True)


@contextlib.contextmanager
def refused(status, match):
    with pytest.raises(InferenceServerException, match=match) as caught:
        yield
    assert caught.value.status() == f"StatusCode.{status}"


def test_the_server_is_live_and_ready_and_says_what_it_is(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "tsnd"
    assert "system_shared_memory" in metadata.extensions
    assert "cuda_shared_memory" not in metadata.extensions


def test_models_are_ready_when_they_are_served(client):
    assert client.is_model_ready("tiny_rgb")
    assert client.is_model_ready("tiny_rgb", "1")
    assert not client.is_model_ready("tiny_rgb", "2")
    assert not client.is_model_ready("nobody")


@models
def test_metadata_names_inputs_and_outputs(client, model):
    metadata = client.get_model_metadata(model)

    assert (metadata.name, list(metadata.versions)) == (model, ["1"])
    assert metadata.platform == "tsnd_onnxruntime"
    (given,) = metadata.inputs
    assert (given.name, given.datatype) == ("snippets", "UINT8")
    assert list(given.shape) == [-1, *SHAPES[model]]
    outputs = [(o.name, o.datatype, list(o.shape)) for o in metadata.outputs]
    assert outputs == [(name, "FP32", [-1, length]) for name, length in OUTPUTS.items()]


@models
def test_the_configuration_says_how_it_is_batched(client, model):
    config = client.get_model_config(model, as_json=True)["config"]

    assert config["max_batch_size"] == 8
    assert config["backend"] == "onnxruntime"
    assert config["version_policy"] == {"latest": {"num_versions": 1}}
    assert config["input"][0]["data_type"] == "TYPE_UINT8"
    assert config["input"][0]["dims"] == [str(size) for size in SHAPES[model]]
    assert [output["dims"] for output in config["output"]] == [["5"], ["10"]]
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == "2000"
    assert config["dynamic_batching"]["preferred_batch_size"] == [2, 4]


@models
@pytest.mark.parametrize("rows", [1, 3])
def test_infer_gives_the_same_numbers_as_the_native_api(client, model, rows):
    pixels = pixels_of(model, rows)

    result = client.infer(model, input_of(pixels), request_id="some id")

    assert result.get_response().id == "some id"
    assert result.get_response().model_version == "1"
    assert_native(model, pixels, result)


@models
def test_infer_gives_the_outputs_that_are_asked_for(client, model):
    wanted = [triton.InferRequestedOutput("features")]

    result = client.infer(model, input_of(pixels_of(model)), outputs=wanted)

    assert [output.name for output in result.get_response().outputs] == ["features"]
    assert result.as_numpy("scores") is None


def test_infer_takes_all_options_that_the_client_has(client):
    pixels = pixels_of("tiny_rgb")
    for sequence in (7, "camera"):
        result = client.infer(
            "tiny_rgb",
            input_of(pixels),
            model_version="1",
            sequence_id=sequence,
            sequence_start=True,
            priority=1,
            timeout=20_000_000,
            client_timeout=20.0,
            compression_algorithm="gzip",
            parameters={"ours": "anything"},
        )
        assert_native("tiny_rgb", pixels, result)


@models
def test_async_infer_gives_the_same_numbers_as_the_native_api(client, model):
    pixels, results = pixels_of(model), Answers()

    client.async_infer(model, input_of(pixels), results.note)

    result, error = results.next()
    assert error is None
    assert_native(model, pixels, result)


@models
def test_a_stream_is_answered_in_order_with_errors_in_their_places(client, model):
    pixels, results = pixels_of(model, 40), Answers()
    client.start_stream(results.note)
    for index in range(40):
        name = "nobody" if index == 20 else model
        client.async_stream_infer(name, input_of(pixels[index : index + 1]), request_id=str(index))
    answers = [results.next() for _ in range(40)]
    client.stop_stream()

    result, error = answers.pop(20)
    assert result is None
    assert "there is no model 'nobody' here" in error.message()
    assert [error for _, error in answers] == [None] * 39
    ids = [int(result.get_response().id) for result, _ in answers]
    assert ids == [index for index in range(40) if index != 20]
    for (result, _), index in zip(answers[:5], ids, strict=False):
        assert_native(model, pixels[index : index + 1], result)


@pytest.mark.parametrize("wanted", [True, False])
def test_a_stream_says_that_a_response_is_the_last_to_those_that_ask(client, wanted):
    results = Answers()
    client.start_stream(results.note)
    client.async_stream_infer(
        "tiny_rgb", input_of(pixels_of("tiny_rgb")), enable_empty_final_response=wanted
    )
    result, error = results.next()
    client.stop_stream()

    assert error is None
    response = result.get_response()
    assert (
        "triton_final_response" in response.parameters
        and response.parameters["triton_final_response"].bool_param
    ) is wanted
    assert result.as_numpy("scores") is not None


def test_a_stream_that_is_cancelled_by_its_client_ends(client):
    results = Answers()
    client.start_stream(results.note)
    for _ in range(10):
        client.async_stream_infer("tiny_rgb", input_of(pixels_of("tiny_rgb")))
    client.stop_stream(cancel_requests=True)

    assert client.is_server_ready()


@models
def test_the_asyncio_client_gets_the_same_numbers(model):
    pixels = pixels_of(model, 4)

    async def requests():
        for index in range(4):
            inputs = input_of(pixels[index : index + 1], aio_triton)
            yield {"model_name": model, "inputs": inputs, "request_id": str(index)}

    async def scenario():
        async with aio_triton.InferenceServerClient(TARGET) as client:
            assert await client.is_model_ready(model)
            once = await client.infer(model, input_of(pixels, aio_triton))
            return once, [answer async for answer in client.stream_infer(requests())]

    once, answers = asyncio.run(scenario())

    assert_native(model, pixels, once)
    assert [result.get_response().id for result, _ in answers] == ["0", "1", "2", "3"]
    for index, (result, error) in enumerate(answers):
        assert error is None
        assert_native(model, pixels[index : index + 1], result)


@models
def test_classification_names_the_best_classes(client, model):
    pixels = pixels_of(model, 2)
    wanted = [
        triton.InferRequestedOutput("scores", class_count=3),
        triton.InferRequestedOutput("features", class_count=100),
    ]

    result = client.infer(model, input_of(pixels), outputs=wanted)

    scores = native_scores(model, pixels)["scores"]
    found = result.as_numpy("scores")
    assert found.shape == (2, 3)
    for row, texts in zip(scores, found, strict=True):
        best = np.argsort(-row)[:3]
        assert [t.decode() for t in texts] == [f"{row[i]:f}:{i}:class {i}" for i in best]
    assert result.as_numpy("features").shape == (2, 10)
    assert len(result.as_numpy("features")[0, 0].decode().split(":")) == 2


@contextlib.contextmanager
def region(byte_size):
    """Shared memory of the client."""
    name = f"tsnd-test-{secrets.token_hex(8)}"
    handle = shared_memory.create_shared_memory_region(name, name, byte_size)
    try:
        yield name, handle
    finally:
        shared_memory.destroy_shared_memory_region(handle)


@models
def test_inputs_and_outputs_are_in_shared_memory(client, model):
    pixels = pixels_of(model, 3)
    with region(100 + pixels.nbytes + 3 * 5 * 4) as (name, handle):
        shared_memory.set_shared_memory_region(handle, [pixels], offset=100)
        client.register_system_shared_memory(name, name, 100 + pixels.nbytes + 60)
        given = triton.InferInput("snippets", list(pixels.shape), "UINT8")
        given.set_shared_memory(name, pixels.nbytes, offset=100)
        scores = triton.InferRequestedOutput("scores")
        scores.set_shared_memory(name, 60, offset=100 + pixels.nbytes)
        wanted = [scores, triton.InferRequestedOutput("features")]

        result = client.infer(model, [given], outputs=wanted)

        written = shared_memory.get_contents_as_numpy(
            handle, np.float32, [3, 5], offset=100 + pixels.nbytes
        ).copy()
        client.unregister_system_shared_memory(name)
    expected = native_scores(model, pixels)
    np.testing.assert_array_equal(written, expected["scores"])
    np.testing.assert_array_equal(result.as_numpy("features"), expected["features"])
    described = result.get_output("scores").parameters
    assert described["shared_memory_region"].string_param == name
    assert described["shared_memory_byte_size"].int64_param == 60


def test_shared_memory_is_listed_and_unregistered(client):
    client.unregister_system_shared_memory()
    with region(1000) as (name, _):
        client.register_system_shared_memory("a", name, 500, offset=100)
        client.register_system_shared_memory("b", name, 1000)
        with refused("INVALID_ARGUMENT", "is registered already"):
            client.register_system_shared_memory("a", name, 500, offset=100)
        status = client.get_system_shared_memory_status(as_json=True)["regions"]
        assert status["a"] == {"name": "a", "key": name, "offset": "100", "byte_size": "500"}
        assert list(client.get_system_shared_memory_status("b").regions) == ["b"]
        client.unregister_system_shared_memory("a")
        assert list(client.get_system_shared_memory_status().regions) == ["b"]
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions


def test_statistics_count_what_was_run(client):
    def counted():
        (stats,) = client.get_inference_statistics("tiny_rgb", "1").model_stats
        return stats

    before = counted()
    for rows in (1, 4, 4):
        client.infer("tiny_rgb", input_of(pixels_of("tiny_rgb", rows)))
    after = counted()

    assert after.inference_count - before.inference_count == 9
    assert after.execution_count - before.execution_count == 3
    success = after.inference_stats.success
    assert success.count - before.inference_stats.success.count == 9
    assert success.ns > before.inference_stats.success.ns
    by_size = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    assert sum(by_size.values()) == after.execution_count
    assert sum(size * count for size, count in by_size.items()) == after.inference_count
    assert after.last_inference >= before.last_inference > 0


def test_models_are_listed_unloaded_and_loaded(client):
    def index():
        return {m.name: (m.state, m.reason) for m in client.get_model_repository_index().models}

    assert index() == {"tiny_flow": ("READY", ""), "tiny_rgb": ("READY", "")}
    client.unload_model("tiny_flow")
    assert index()["tiny_flow"] == ("UNAVAILABLE", "it is not loaded")
    assert not client.is_model_ready("tiny_flow")
    with refused("NOT_FOUND", "there is no model 'tiny_flow' here"):
        client.infer("tiny_flow", input_of(pixels_of("tiny_flow")))
    client.load_model("tiny_flow")
    assert client.is_model_ready("tiny_flow")
    with refused("NOT_FOUND", "holds no model 'nobody'"):
        client.load_model("nobody")
    with refused("INVALID_ARGUMENT", "packages are served as they are"):
        client.load_model("tiny_flow", config="{}")


def test_jpeg_files_are_an_input_of_bytes(client):
    files = [
        simplejpeg.encode_jpeg(frame, quality=90, colorspace="BGR")
        for frame in pixels_of("tiny_rgb", 2)
    ]
    tensor = triton.InferInput("snippets", [2, 1], "BYTES")
    tensor.set_data_from_numpy(np.array(files, object).reshape(2, 1))

    result = client.infer("tiny_rgb", [tensor])

    decoded = np.stack([simplejpeg.decode_jpeg(file, "BGR") for file in files])
    assert_native("tiny_rgb", decoded, result)


def test_flow_is_a_jpeg_file_for_each_plane(client):
    files = [
        simplejpeg.encode_jpeg(plane[..., np.newaxis], quality=90, colorspace="GRAY")
        for plane in pixels_of("tiny_flow")[0]
    ]
    tensor = triton.InferInput("snippets", [1, 10], "BYTES")
    tensor.set_data_from_numpy(np.array([files], object))

    result = client.infer("tiny_flow", [tensor])

    decoded = np.stack([simplejpeg.decode_jpeg(file, "GRAY")[..., 0] for file in files])
    assert_native("tiny_flow", decoded[np.newaxis], result)


def test_the_examples_of_the_document_run(capsys):
    examples = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for example in examples:
        code = example.replace("127.0.0.1:8001", TARGET).replace("kinetics_rgb", "tiny_rgb")
        exec(compile(code, DOCUMENT.name, "exec"), {})

    assert len(examples) == 2
    assert "class " in capsys.readouterr().out


def test_what_does_not_fit_is_refused_with_the_remedy(client):
    wrong = input_of(np.zeros((1, 3, 16, 21), np.uint8))
    with refused("INVALID_ARGUMENT", r"takes UINT8 of shape \[rows, 16, 21, 3\], got"):
        client.infer("tiny_rgb", wrong)
    with refused("INVALID_ARGUMENT", r"17 rows: from 1 to 16 are allowed \(max_group_size\)"):
        client.infer("tiny_rgb", input_of(pixels_of("tiny_rgb", 17)))
    with refused("NOT_FOUND", "has version 1 here, not 9"):
        client.infer("tiny_rgb", input_of(pixels_of("tiny_rgb")), model_version="9")


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        ("get_cuda_shared_memory_status", "Use system shared memory"),
        ("get_trace_settings", "has timings"),
        ("get_log_settings", "Start tsnd with --log-level"),
    ],
)
def test_calls_that_are_not_supported_say_what_to_do(client, call, remedy):
    with refused("UNIMPLEMENTED", remedy):
        getattr(client, call)()
