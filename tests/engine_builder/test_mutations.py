"""Damaged files convert, or fail with one clear error; nothing else ever happens.

The mutations are seeded, so a failure names the number with which it can be repeated.
"""

import resource
from pathlib import Path

import numpy as np
import pytest

from tests.builders import write_tiny_caffe_model
from tsnd_builder.assemble import load_graph
from tsnd_builder.errors import BuilderError, ExportError
from tsnd_builder.export import export_onnx

ZOO = Path(__file__).parents[1] / "data" / "caffe_zoo"
FEW, MANY = 300, 10_500  # of each of the two kinds of file
MEMORY_BYTES = 2 * 1024**3
TOKENS = [
    *("{", "}", "[", "]", ":", '"', "'", "#", "-", "<", ">", ",", ";", "\\", "\n", "\0"),
    *("0", "-1", "1", "2", "7", "1e30", "nan", "inf", "4294967295", "9223372036854775807"),
    *("layer", "layers", "name", "type", "bottom", "top", "data", "fc-action", "TEST", "TRAIN"),
    *('"Softmax"', '"Reshape"', '"Slice"', '"SPP"', '"ArgMax"', '"Scale"', '"Concat"', '"BN"'),
    *("axis: ", "kernel_size: ", "stride: ", "pad: ", "num_output: ", "group: ", "dim: "),
    *("include { phase: TRAIN }", "reshape_param { shape { dim: -1 } }", "input_dim: 3"),
    *("spp_param { pyramid_height: 30 }", "argmax_param { top_k: 3 }", "global_pooling: true"),
]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Nets to damage: a TSN-shaped one, and the small ones of the zoo."""
    folder = tmp_path_factory.mktemp("tiny")
    prototxt, weights, _ = write_tiny_caffe_model(folder)
    found = [(prototxt.read_bytes(), weights.read_bytes())]
    for case in sorted(ZOO.iterdir()):
        weights = case / "weights.caffemodel"
        blobs = weights.read_bytes() if weights.exists() else b""
        found.append(((case / "net.prototxt").read_bytes(), blobs))
    return found


@pytest.fixture(autouse=True)
def bounded_memory():
    """A conversion that wants gigabytes fails here instead of on a user's machine."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def mutate_text(text: bytes, rng: np.random.Generator) -> bytes:
    """Insert, replace, delete, swap or repeat some pieces of a text."""
    pieces = text.decode("latin-1").replace("{", " { ").replace("}", " } ").split(" ")
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(pieces)))
        token = TOKENS[int(rng.integers(0, len(TOKENS)))]
        match int(rng.integers(0, 5)):
            case 0:
                pieces.insert(at, token)
            case 1:
                pieces[at] = token
            case 2 if len(pieces) > 1:
                del pieces[at]
            case 3:
                other = int(rng.integers(0, len(pieces)))
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case _:
                pieces[at:at] = pieces[at : at + int(rng.integers(1, 30))]
    return " ".join(pieces).encode("latin-1")


def mutate_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, repeat or overwrite some bytes."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(0, len(damaged)))
        match int(rng.integers(0, 5)):
            case 0:
                damaged[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                damaged[at] = int(rng.integers(0, 256))
            case 2 if at:
                del damaged[at:]
            case 3:
                damaged[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case _:
                damaged[at : at + 9] = b"\xff" * 8 + b"\x7f"
    return bytes(damaged)


def check(prototxt: bytes, weights: bytes, folder: Path, what: str) -> bool:
    """Convert; returns whether it converted. Anything but a clear error fails."""
    (folder / "net.prototxt").write_bytes(prototxt)
    (folder / "net.caffemodel").write_bytes(weights)
    path = folder / "net.caffemodel" if weights else None
    try:
        export_onnx(load_graph(folder / "net.prototxt", path))
    except ExportError as err:
        pytest.fail(f"{what}: {err}")
    except BuilderError as err:
        if "net." not in str(err):
            pytest.fail(f"{what} does not name its file: {err}")
        return False
    except Exception as err:  # noqa: BLE001 - that is the point
        pytest.fail(f"{what}: {type(err).__name__}: {err}")
    return True


def run(sources, folder, numbers):
    converted = 0
    for number in numbers:
        rng = np.random.default_rng(number)
        prototxt, weights = sources[int(rng.integers(0, len(sources)))]
        converted += check(mutate_text(prototxt, rng), weights, folder, f"text {number}")
        if weights:
            converted += check(prototxt, mutate_bytes(weights, rng), folder, f"bytes {number}")
    return converted


def test_damaged_files_convert_or_fail_with_one_clear_error(sources, tmp_path):
    assert 0 < run(sources, tmp_path, range(FEW)) < 2 * FEW


@pytest.mark.slow
def test_twenty_thousand_damaged_files_convert_or_fail_with_one_clear_error(sources, tmp_path):
    with_weights = sum(bool(weights) for _, weights in sources) / len(sources)
    count = int(MANY * 2 / (1 + with_weights))

    assert 0 < run(sources, tmp_path, range(count)) < 2 * count


def test_a_blob_that_claims_a_million_million_elements_allocates_none(sources, tmp_path):
    prototxt, _ = sources[0]
    claim = b"\x3a\x0a\x0a\x08" + b"\x80\xa0\x94\xa5\x8d\x1d\x01\x01"
    layer = b"\x0a\x05conv1" + b"\x3a" + bytes([len(claim)]) + claim
    weights = b"\xa2\x06" + bytes([len(layer)]) + layer

    assert not check(prototxt, weights, tmp_path, "claim")
