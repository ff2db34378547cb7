from collections import Counter
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from tests.fuzz.calls import (
    BYTES,
    FIELDS,
    GOOD,
    LARGE,
    RANDOM,
    SEED,
    WIRE,
    is_readable,
    make_call,
)
from tests.fuzz.oracle import Fate, first_pixels, read
from tests.fuzz.scene import MODELS, Scene, methods_of
from tests.fuzz.seeds import SCORE_STREAM, UNLOAD, seeds_for
from tsnd.v1 import control_pb2, snippets_pb2

FILES: tuple[Any, ...] = (snippets_pb2, control_pb2, health_pb2)
SCENE = Scene(
    methods_of(s for file in FILES for s in file.DESCRIPTOR.services_by_name.values()), "region"
)
CALLS = [make_call(0, index, SCENE) for index in range(2_000)]


def test_a_call_follows_from_its_seed_and_number():
    assert make_call(0, 7, SCENE) == CALLS[7]
    assert make_call(1, 7, SCENE) != CALLS[7]


def test_messages_are_made_in_every_way():
    kinds = Counter(sent.kind for call in CALLS for sent in call.messages)

    assert set(kinds) == {GOOD, SEED, RANDOM, BYTES, WIRE, FIELDS, LARGE}
    assert min(kinds[kind] for kind in (RANDOM, BYTES, WIRE, FIELDS)) > 50


def test_every_method_is_called_and_some_that_there_are_not():
    paths = {call.path for call in CALLS}

    assert set(SCENE.by_path) <= paths
    assert paths - set(SCENE.by_path)


@pytest.mark.parametrize("method", SCENE.methods, ids=lambda method: method.name)
def test_seeds_are_valid(method):
    assert all(is_readable(method, seed) for seed in seeds_for(method, SCENE))


def test_only_the_last_message_ends_a_stream():
    for call in CALLS:
        if call.path == SCORE_STREAM:
            fates = {read(sent.data).fate for sent in call.messages[:-1]}
            assert fates <= {Fate.ANSWERED, Fate.ATTACHED}


def test_good_messages_are_good():
    good = [sent for call in CALLS for sent in call.messages if sent.kind == GOOD]
    requests = [snippets_pb2.ScoreRequest.FromString(sent.data) for sent in good]

    assert all(r.HasField("attach") or r.snippets for r in requests)
    assert all(first_pixels(snippet) for r in requests for snippet in r.snippets)


def test_models_that_good_messages_are_for_are_not_unloaded():
    unloads = [sent.data for call in CALLS for sent in call.messages if call.path == UNLOAD]

    assert not any(name.encode() in data for data in unloads for name in MODELS)
