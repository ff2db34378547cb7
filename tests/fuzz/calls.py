"""Makes calls of nothing but a scene, a seed and a number: what fails once fails again.

A call is one request, or the requests of a stream with good ones between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from google.protobuf.message import DecodeError

from tests.fuzz import byte_level, message_level, wire_level
from tests.fuzz.oracle import Fate, read
from tests.fuzz.scene import MODELS, REGION, RGB_BYTES, RGB_SHAPE, Method, Scene
from tests.fuzz.seeds import (
    INFER,
    INFER_STREAM,
    SCORE,
    SCORE_STREAM,
    SNIPPETS,
    WATCH,
    attach,
    good_infer_request,
    good_request,
    seeds_for,
    words_for,
)
from tsnd.v1 import model_pb2, snippets_pb2

GOOD, SEED, RANDOM, BYTES, WIRE, FIELDS, LARGE = (
    "good", "seed", "random", "bytes", "wire", "fields", "large",
)  # fmt: skip
"""How messages are made."""
_MOST_MESSAGES = 28
_ENDS_SHARE = 0.2
"""Of messages that would end their stream, how many may: else streams would be short."""
_GOOD_SHARE = 0.3
_LARGE_SHARE = 0.001
_MANY_FIELDS_BYTES = 8_192
"""A field has two bytes at least, and ModelInfer takes 4,096 fields."""
_LARGE_BYTES = 4 * 1024 * 1024 + 200_000  # more than the daemon reads, with these models
_SHARES = ((SEED, 0.05), (RANDOM, 0.1), (BYTES, 0.35), (WIRE, 0.65), (FIELDS, 1.0))
_WEIGHTS = {
    SCORE: 24,
    SCORE_STREAM: 18,
    INFER: 12,
    INFER_STREAM: 5,
    WATCH: 1,
}


@dataclass(frozen=True, slots=True)
class Sent:
    """A message, and how it was made."""

    data: bytes
    kind: str


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent.

    Attributes:
        index: Its number.
        path: Of its method, which need not exist.
        messages: One, or several on a stream. Only the last one ends a stream.
        hangs_up_after: The client goes away after so many of them.
        region_key: Shared memory that is made for this call alone.
        shrinks_after: After so many of its snippets it becomes smaller than was said.
    """

    index: int
    path: str
    messages: tuple[Sent, ...]
    hangs_up_after: int | None = None
    region_key: str = ""
    shrinks_after: int | None = None


def make_call(seed: int, index: int, scene: Scene) -> Call:
    """Make a call.

    Args:
        seed: Of all of them.
        index: Which one.
        scene: Where it is made.
    """
    rng = Random(f"{seed}/{index}")
    if rng.random() < 0.01:
        path = rng.choice((f"{SNIPPETS}/Reboot{index}", f"/no.Service{index}/Score"))
        return Call(index, path, (Sent(byte_level.random_bytes(rng), RANDOM),))
    method = _choose(scene, rng)
    if method.path == SCORE_STREAM:
        return _score_stream(index, scene, method, rng)
    return (_stream if method.client_streaming else _single)(index, method, scene, rng)


def is_readable(method: Method, data: bytes) -> bool:
    """Say whether protobuf reads something as a request of a method."""
    try:
        method.request.FromString(data)
    except DecodeError:
        return False
    return True


def may_end(method: Method, sent: Sent) -> bool:
    """Say whether a message may end a stream of a method other than ScoreStream.

    ModelStreamInfer need not read what no library would write, or has thousands of fields.
    """
    if not is_readable(method, sent.data) or sent.kind == LARGE:
        return True
    strict = method.path == INFER_STREAM
    return strict and (sent.kind in (RANDOM, BYTES, WIRE) or len(sent.data) > _MANY_FIELDS_BYTES)


def _choose(scene: Scene, rng: Random) -> Method:
    weights = [_WEIGHTS.get(method.path, 2) for method in scene.methods]
    return rng.choices(scene.methods, weights)[0]


def _one(method: Method, scene: Scene, rng: Random, name: str) -> Sent:
    """Make one message of a call."""
    if method.path == SCORE and rng.random() < _GOOD_SHARE:
        return Sent(good_request(name, rng, groups=False), GOOD)
    if method.path in (INFER, INFER_STREAM) and rng.random() < _GOOD_SHARE:
        return Sent(good_infer_request(method, name, rng), GOOD)
    return _damaged(method, scene, rng)


def _single(index: int, method: Method, scene: Scene, rng: Random) -> Call:
    is_large = rng.random() < _LARGE_SHARE
    sent = Sent(_too_large(), LARGE) if is_large else _one(method, scene, rng, str(index))
    return Call(index, method.path, (sent,))


def _stream(index: int, method: Method, scene: Scene, rng: Random) -> Call:
    """Make a stream of which each message has one answer."""
    messages: list[Sent] = []
    for position in range(rng.randint(1, _MOST_MESSAGES)):
        sent = _one(method, scene, rng, f"{index}/{position}")
        ends = may_end(method, sent)
        if not ends or not messages or rng.random() < _ENDS_SHARE:
            messages.append(sent)
            if ends:
                break
    return Call(index, method.path, tuple(messages))


def _score_stream(index: int, scene: Scene, method: Method, rng: Random) -> Call:
    """Make a stream: good messages among damaged ones, perhaps on shared memory."""
    kind = rng.random()
    if kind < 0.01:
        return Call(index, method.path, (Sent(_too_large(), LARGE),))
    if kind < 0.1:
        return _on_shrinking_region(index, scene, rng)
    shares = kind < 0.4
    messages = [Sent(attach(scene, sealed=rng.random() < 0.5), GOOD)] if shares else []
    for position in range(rng.randint(1, _MOST_MESSAGES)):
        if rng.random() < _GOOD_SHARE:
            messages.append(Sent(good_request(f"{index}/{position}", rng, shares=shares), GOOD))
            continue
        sent = _damaged(method, scene, rng)
        if read(sent.data).fate in (Fate.ANSWERED, Fate.ATTACHED):
            messages.append(sent)
        elif position == 0 or rng.random() < _ENDS_SHARE:
            messages.append(sent)
            break
    hangs_up = rng.randrange(len(messages) + 1) if rng.random() < 0.03 else None
    return Call(index, method.path, tuple(messages), hangs_up_after=hangs_up)


def _on_shrinking_region(index: int, scene: Scene, rng: Random) -> Call:
    """Make a stream whose memory shrinks before it is over; what is in it may be refused."""
    key = f"{scene.region_key}-{index}"
    messages = [Sent(attach(scene, key), GOOD)]
    for position in range(rng.randint(2, 12)):
        snippet = snippets_pb2.Snippet(
            id=f"{index}/{position}", modality=model_pb2.MODALITY_RGB, shape=RGB_SHAPE
        )
        snippet.shared.offset = rng.randrange(len(REGION) - RGB_BYTES + 1)
        request = snippets_pb2.ScoreRequest(model="tiny_rgb", snippets=[snippet])
        messages.append(Sent(request.SerializeToString(), SEED))
    return Call(
        index,
        SCORE_STREAM,
        tuple(messages),
        region_key=key,
        shrinks_after=rng.randrange(len(messages)),
    )


def _damaged(method: Method, scene: Scene, rng: Random) -> Sent:
    drawn = rng.random()
    kind = next(kind for kind, share in _SHARES if drawn < share)
    seeds, words = _material(method, scene)
    data = _MAKERS[kind](method, seeds, words, rng)
    if "Unload" in method.path and any(name.encode() in data for name in MODELS):
        data = b""  # what good requests are for stays
    return Sent(data, kind)


@lru_cache(maxsize=128)
def _material(method: Method, scene: Scene) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    return seeds_for(method, scene), words_for(method, scene)


@lru_cache(maxsize=1)
def _too_large() -> bytes:
    snippet = snippets_pb2.Snippet(raw=bytes(_LARGE_BYTES))
    return snippets_pb2.ScoreRequest(snippets=[snippet]).SerializeToString()


_Maker = Callable[[Method, tuple[bytes, ...], tuple[str, ...], Random], bytes]
_MAKERS: dict[str, _Maker] = {
    SEED: lambda _method, seeds, _words, rng: rng.choice(seeds),
    RANDOM: lambda _method, _seeds, _words, rng: byte_level.random_bytes(rng),
    BYTES: lambda _method, seeds, _words, rng: byte_level.damage(
        rng.choice(seeds), rng.choice(seeds), rng
    ),
    WIRE: lambda _method, seeds, _words, rng: wire_level.miswrite(rng.choice(seeds), rng),
    FIELDS: lambda method, seeds, words, rng: message_level.edit(
        method.request.FromString(rng.choice(seeds)), words, rng
    ),
}
