"""Valid messages for each method, to be damaged; as JSON where no code of ours is needed.

A method that is not listed is fuzzed all the same, from its empty message.
"""

import base64
from collections.abc import Iterator
from random import Random
from typing import Any

import cv2
from google.protobuf import json_format

from tests.fuzz.jpegs import jpeg
from tests.fuzz.scene import (
    FLOW_BYTES,
    FLOW_SHAPE,
    MODELS,
    PAIR,
    REGION,
    RGB_BYTES,
    RGB_SHAPE,
    SPARE,
    Method,
    Scene,
)
from tsnd.v1 import model_pb2, snippets_pb2

SNIPPETS = "/tsnd.v1.SnippetService"
KSERVE = "/inference.GRPCInferenceService"
INFER, INFER_STREAM = f"{KSERVE}/ModelInfer", f"{KSERVE}/ModelStreamInfer"
SCORE, SCORE_STREAM = f"{SNIPPETS}/Score", f"{SNIPPETS}/ScoreStream"
REFLECTION = "ServerReflection/ServerReflectionInfo"
UNLOAD = "/tsnd.v1.ModelControlService/UnloadModel"
WATCH = "/grpc.health.v1.Health/Watch"

_Json = dict[str, Any]
_RGB, _FLOW = model_pb2.MODALITY_RGB, model_pb2.MODALITY_FLOW

RGB_JPEGS = (
    jpeg(40, 36, 3),
    jpeg(40, 36, 1),
    jpeg(40, 36, 3, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    jpeg(40, 36, 3, cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
)
FLOW_PLANE, FLOW_MOSAIC = jpeg(16, 21, 1), jpeg(32, 105, 1)
REPLIES = (
    snippets_pb2.ReplyOptions(outputs=["scores"]),
    snippets_pb2.ReplyOptions(outputs=["features", "scores"], top_k=5),
    snippets_pb2.ReplyOptions(top_k=2),
    snippets_pb2.ReplyOptions(outputs=["scores"], data_type=model_pb2.DATA_TYPE_FLOAT16),
)


def words_for(method: Method, scene: Scene) -> tuple[str, ...]:
    """Strings that mean something to the daemon, and some that should not."""
    key = scene.written_key if method.path.startswith(KSERVE) else scene.region_key
    return (
        *(*MODELS, PAIR, SPARE, "nobody", "", "scores", "features", "snippets", "1", "0", "-1"),
        *(key, f"/{key}", f"{key}-none", "../shm", "/", "region0", "region1"),
        *("UINT8", "FP32", "FP16", "BYTES", "shared_memory_region", "shared_memory_byte_size"),
        *("shared_memory_offset", "binary_data", "classification", "priority", "timeout"),
        *("sequence_id", "triton_enable_empty_final_response", "m" * 257, "x" * 20_000, "%s%n{}"),
        *("a\0b", "\r\n\x1b[31m", "\U0001f3a5" * 100, "grpc.health.v1.Health", "99999999999999"),
        *("tsnd/v1/snippets.proto", "tsnd.v1.SnippetService", ".", "/dev/zero", "a/b", "1.0e9"),
    )


def seeds_for(method: Method, scene: Scene) -> tuple[bytes, ...]:
    """Return valid messages of a method; at least one."""
    if method.path in (SCORE, SCORE_STREAM):
        return tuple(request.SerializeToString() for request in _score_requests(scene))
    texts = _JSON.get(method.path) or _of_reflection(method) or ({},)
    return tuple(_from_json(method, text) for text in (*texts, *_on_region(method, scene)))


def attach(scene: Scene, key: str = "", *, sealed: bool = False) -> bytes:
    """Return a request that attaches a region.

    Args:
        scene: Where it is.
        key: Its name; without one it is that of the scene.
        sealed: Whether it is memory of the scene's process instead.
    """
    memory = snippets_pb2.SharedMemory(key=key or scene.region_key, byte_size=len(REGION))
    if sealed:
        memory.process_id, memory.descriptor = scene.process_id, scene.descriptor
    return snippets_pb2.ScoreRequest(attach=memory).SerializeToString()


def good_request(
    snippet_id: str, rng: Random, *, groups: bool = True, shares: bool = False
) -> bytes:
    """Return a request that is answered with scores, of new pixels.

    Args:
        snippet_id: What its ids begin with.
        rng: Decides.
        groups: Whether it may have several snippets.
        shares: Whether they may be in shared memory.
    """
    count = rng.choice((1, 1, 2, 5)) if groups else 1
    flow = rng.random() < 0.3
    snippets = [
        good_snippet(f"{snippet_id}/{i}", rng, flow=flow, shares=shares) for i in range(count)
    ]
    request = snippets_pb2.ScoreRequest(
        model=rng.choice((PAIR, "tiny_flow" if flow else "tiny_rgb")), snippets=snippets
    )
    if rng.random() < 0.3:
        request.priority = rng.randrange(3)
    if rng.random() < 0.3:
        request.reply.CopyFrom(rng.choice(REPLIES))
    return request.SerializeToString()


def good_snippet(
    snippet_id: str, rng: Random, *, flow: bool = False, shares: bool = False
) -> snippets_pb2.Snippet:
    """Return a valid snippet, its pixels in one of the ways there are."""
    shape, size = (FLOW_SHAPE, FLOW_BYTES) if flow else (RGB_SHAPE, RGB_BYTES)
    snippet = snippets_pb2.Snippet(id=snippet_id, modality=_FLOW if flow else _RGB, shape=shape)
    payload = rng.random()
    if shares and payload < 0.4:
        snippet.shared.offset = rng.choice((0, 1, rng.randrange(len(REGION) - size)))
    elif payload > 0.85:
        snippet.jpeg.images.extend(_images(rng, flow=flow))
    else:
        snippet.raw = rng.randbytes(size)
    return snippet


def good_infer_request(method: Method, request_id: str, rng: Random) -> bytes:
    """Return a ModelInferRequest that is answered with scores, of new pixels."""
    model, shape, size = rng.choice(
        (("tiny_rgb", RGB_SHAPE, RGB_BYTES), ("tiny_flow", FLOW_SHAPE, FLOW_BYTES))
    )
    rows = rng.choice((1, 1, 3))
    request: Any = method.request()
    request.model_name, request.id = model, request_id
    request.inputs.add(name="snippets", datatype="UINT8", shape=[rows, *shape])
    request.raw_input_contents.append(rng.randbytes(rows * size))
    data: bytes = request.SerializeToString()
    return data


def _images(rng: Random, *, flow: bool) -> list[bytes]:
    if not flow:
        return [rng.choice(RGB_JPEGS)]
    return [FLOW_MOSAIC] if rng.random() < 0.5 else [FLOW_PLANE] * 10


def _score_requests(scene: Scene) -> Iterator[snippets_pb2.ScoreRequest]:
    """One of each kind, and the kinds that are refused most for single calls."""
    rng = Random(0)
    for shares in (False, True):
        for number in range(24):
            data = good_request(f"seed{number}", rng, groups=number % 3 == 0, shares=shares)
            yield snippets_pb2.ScoreRequest.FromString(data)
    for seconds in (1, 10):
        yield snippets_pb2.ScoreRequest(
            model=SPARE, version=1, snippets=[good_snippet("s", rng)], timeout_us=seconds * 10**6
        )
    for sealed in (False, True):
        yield snippets_pb2.ScoreRequest.FromString(attach(scene, sealed=sealed))


def _from_json(method: Method, text: _Json) -> bytes:
    """Write a message; a service that has fewer fields than it could is sent those."""
    message = method.request()
    json_format.ParseDict(text, message, ignore_unknown_fields=True)
    return message.SerializeToString()


def _base64(size: int, octets: bytes = b"") -> str:
    return base64.b64encode(octets or Random(size).randbytes(size)).decode()


def _of_reflection(method: Method) -> tuple[_Json, ...]:
    return _REFLECTED if method.path.endswith(REFLECTION) else ()


def _on_region(method: Method, scene: Scene) -> tuple[_Json, ...]:
    """Messages that name shared memory, which is another in each run."""
    if method.path != f"{KSERVE}/SystemSharedMemoryRegister":
        return ()
    places = ((0, len(REGION)), (4_096, RGB_BYTES), (len(REGION), 1), (0, len(REGION) + 1))
    return tuple(
        {"name": f"region{i}", "key": key, "offset": offset, "byte_size": size}
        for i, (offset, size) in enumerate(places)
        for key in (scene.written_key, f"/{scene.written_key}")
    )


def _infer(model: str, shape: tuple[int, ...], **more: Any) -> _Json:
    size = FLOW_BYTES if model.endswith("flow") else RGB_BYTES
    count = shape[0] if len(shape) == 4 else 1
    request: _Json = {
        "model_name": model,
        "id": "seed",
        "inputs": [{"name": "snippets", "datatype": "UINT8", "shape": list(shape)}],
        "raw_input_contents": [_base64(size * count)],
    }
    return {**request, **more}


def _shared_parameters(size: int) -> _Json:
    return {
        "shared_memory_region": {"string_param": "region0"},
        "shared_memory_byte_size": {"int64_param": size},
        "shared_memory_offset": {"int64_param": 0},
    }


_IN_REGION = {
    "name": "snippets",
    "datatype": "UINT8",
    "shape": [1, *RGB_SHAPE],
    "parameters": _shared_parameters(RGB_BYTES),
}
_TYPED = {"contents": {"uint_contents": [7] * RGB_BYTES}}
_ENCODED = {"contents": {"bytes_contents": [_base64(0, RGB_JPEGS[0])]}}
_PREFIXED = len(RGB_JPEGS[1]).to_bytes(4, "little") + RGB_JPEGS[1]
_INFER: tuple[_Json, ...] = (
    _infer("tiny_rgb", (1, *RGB_SHAPE)),
    _infer("tiny_rgb", RGB_SHAPE),
    _infer("tiny_rgb", (3, *RGB_SHAPE), outputs=[{"name": "scores"}]),
    _infer("tiny_flow", (1, *FLOW_SHAPE), model_version="1"),
    _infer(
        "tiny_rgb",
        (1, *RGB_SHAPE),
        outputs=[{"name": "scores", "parameters": {"classification": {"int64_param": 3}}}],
        parameters={"priority": {"uint64_param": 1}, "timeout": {"int64_param": 1_000_000}},
    ),
    _infer("tiny_rgb", (1, *RGB_SHAPE), inputs=[_IN_REGION], raw_input_contents=[]),
    _infer(
        "tiny_rgb",
        (1, *RGB_SHAPE),
        inputs=[{"name": "snippets", "datatype": "UINT8", "shape": [1, *RGB_SHAPE], **_TYPED}],
        raw_input_contents=[],
    ),
    _infer(
        "tiny_rgb",
        (1, *RGB_SHAPE),
        inputs=[{"name": "snippets", "datatype": "BYTES", "shape": [1, 1], **_ENCODED}],
        raw_input_contents=[],
    ),
    _infer(
        "tiny_rgb",
        (1, *RGB_SHAPE),
        inputs=[{"name": "snippets", "datatype": "BYTES", "shape": [1, 1]}],
        raw_input_contents=[_base64(0, _PREFIXED)],
    ),
    _infer(
        "tiny_rgb",
        (1, *RGB_SHAPE),
        outputs=[{"name": "scores", "parameters": _shared_parameters(20)}],
    ),
)
_ONE_MODEL: tuple[_Json, ...] = (
    {"name": "tiny_rgb"},
    {"name": "tiny_flow", "version": "1"},
    {"name": "tiny_rgb", "version": "2"},
)
_JSON: dict[str, tuple[_Json, ...]] = {
    f"{SNIPPETS}/GetModel": (
        {"name": "tiny_rgb"},
        {"name": PAIR, "modality": 2},
        {"name": PAIR},
        {"name": SPARE, "version": 1},
    ),
    "/tsnd.v1.ModelControlService/LoadModel": ({"name": SPARE}, {"name": "nobody"}),
    UNLOAD: ({"name": SPARE}, {"name": "nobody"}),
    "/grpc.health.v1.Health/Check": ({}, {"service": "tsnd.v1.SnippetService"}, {"service": "x"}),
    WATCH: ({}, {"service": "tsnd.v1.SnippetService"}, {"service": "x"}),
    INFER: _INFER,
    INFER_STREAM: _INFER,
    f"{KSERVE}/ModelReady": _ONE_MODEL,
    f"{KSERVE}/ModelMetadata": _ONE_MODEL,
    f"{KSERVE}/ModelConfig": _ONE_MODEL,
    f"{KSERVE}/ModelStatistics": ({}, *_ONE_MODEL),
    f"{KSERVE}/RepositoryIndex": ({}, {"ready": True}),
    f"{KSERVE}/RepositoryModelLoad": ({"model_name": SPARE}, {"model_name": "nobody"}),
    f"{KSERVE}/RepositoryModelUnload": ({"model_name": SPARE}, {"model_name": "nobody"}),
    f"{KSERVE}/SystemSharedMemoryStatus": ({}, {"name": "region0"}, {"name": "none"}),
    f"{KSERVE}/SystemSharedMemoryUnregister": ({"name": "region1"}, {"name": "none"}, {}),
}
_REFLECTED: tuple[_Json, ...] = (
    {"list_services": ""},
    {"file_containing_symbol": "tsnd.v1.SnippetService"},
    {"file_by_filename": "tsnd/v1/snippets.proto"},
    {"file_containing_extension": {"containing_type": "tsnd.v1.Snippet", "extension_number": 1}},
    {"all_extension_numbers_of_type": "tsnd.v1.Snippet"},
    {"host": "x"},
)
