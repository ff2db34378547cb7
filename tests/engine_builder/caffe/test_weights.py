import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import (
    Blobs,
    blob_proto,
    layer,
    net,
    random_floats,
    write_prototxt,
    write_weights,
)
from tsnd.caffe.net_pb2 import BlobProto, BlobShape, WeightFile
from tsnd_builder.assemble import load_graph
from tsnd_builder.caffe.weights import Blob, Weights, read_weights
from tsnd_builder.errors import BuilderError, CaffemodelError, FileUnreadable, WeightsError

WEIGHT = random_floats(1, 2, 3)
CLASSIFIER = net(
    layer("fc", "InnerProduct", "data", "fc", "inner_product_param { num_output: 2 }"),
    data=(1, 3),
)


@pytest.fixture
def read(tmp_path):
    """Read a caffemodel: a WeightFile, or bytes as they are."""

    def read_content(content):
        path = tmp_path / "weights.caffemodel"
        path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
        return read_weights(path)

    return read_content


def one_layer(blob):
    file = WeightFile(name="small")
    file.layer.add(name="fc", blobs=[blob])
    return file


def field(number, payload):
    """Encode a length-delimited field of fewer than 128 bytes."""
    tag = number << 3 | 2
    head = [tag] if tag < 128 else [tag & 127 | 128, tag >> 7]
    return bytes([*head, len(payload)]) + payload


def layer_record(blob):
    return field(100, field(1, b"fc") + field(7, blob))


SHAPE = field(7, field(1, bytes([2, 3])))


def test_blobs_are_read_by_layer_name_in_order(tmp_path):
    path = write_weights(tmp_path, {"a": [WEIGHT, [1.0, 2.0]], "b": [[3.0]]})

    weights = read_weights(path)

    assert weights.path == path
    assert [blob.shape for blob in weights.blobs["a"]] == [(2, 3), (2,)]
    np.testing.assert_array_equal(weights.blobs["a"][0].data, WEIGHT)
    np.testing.assert_array_equal(weights.blobs["b"][0].data, [3.0])


@pytest.mark.parametrize(
    "data",
    [
        field(5, WEIGHT.tobytes()),
        b"".join(b"\x2d" + value.tobytes() for value in WEIGHT.ravel()),
        field(5, WEIGHT[0].tobytes()) + field(5, WEIGHT[1].tobytes()),
        field(5, WEIGHT[0].tobytes()) + b"".join(b"\x2d" + v.tobytes() for v in WEIGHT[1]),
        field(5, WEIGHT.tobytes()) + field(6, WEIGHT.tobytes()),
        field(5, WEIGHT.tobytes()) + field(99, b"later"),
    ],
    ids=["packed", "unpacked", "chunked", "mixed", "with_diff", "with_unknown_field"],
)
@pytest.mark.parametrize("shape_first", [True, False], ids=["shape_first", "shape_last"])
def test_data_may_be_encoded_in_any_legal_way(read, data, shape_first):
    blob = SHAPE + data if shape_first else data + SHAPE

    weights = read(layer_record(blob))

    np.testing.assert_array_equal(weights.blobs["fc"][0].data, WEIGHT)


def test_the_shape_itself_may_be_unpacked(read):
    shape = field(7, b"\x08\x02\x08\x03")

    assert read(layer_record(shape + field(5, WEIGHT.tobytes()))).blobs["fc"][0].shape == (2, 3)


def test_a_legacy_blob_has_four_axes_and_says_so(read):
    blob = BlobProto(num=1, channels=1, height=2, width=3, data=WEIGHT.ravel())

    found = read(one_layer(blob)).blobs["fc"][0]

    assert (found.shape, found.is_legacy) == ((1, 1, 2, 3), True)


@pytest.mark.parametrize(
    ("stored", "is_legacy", "expected", "fits"),
    [
        ((2, 3), False, (2, 3), True),
        ((2, 3), False, (3, 2), False),
        ((1, 1, 2, 3), False, (2, 3), False),
        ((1, 1, 2, 3), True, (2, 3), True),
        ((1, 1, 1, 3), True, (3,), True),
        ((1, 1, 1, 3), True, (1, 3), True),
        ((2, 3, 1, 1), True, (2, 3, 1, 1), True),
        ((2, 3, 1, 1), True, (2, 3), False),
        ((1, 2, 1, 3), True, (2, 3), False),
        ((1, 1, 2, 3), True, (1, 1, 1, 2, 3), False),
    ],
)
def test_only_legacy_blobs_may_have_leading_ones(stored, is_legacy, expected, fits):
    blob = Blob(np.zeros(stored, np.float32), stored, is_legacy)

    assert blob.fits(expected) is fits


def test_layers_without_blobs_are_there_with_none(read):
    file = WeightFile(name="small")
    file.layer.add(name="relu", type="ReLU")

    assert read(file).blobs == {"relu": ()}


def test_a_record_without_blobs_does_not_hide_one_with_them(read):
    file = one_layer(blob_proto(WEIGHT))
    file.layer.add(name="fc", type="Split")

    assert len(read(file).blobs["fc"]) == 1


def test_a_v1_caffemodel_is_read(read):
    file = WeightFile(name="old")
    blob = BlobProto(num=1, channels=1, height=2, width=3, data=WEIGHT.ravel())
    file.layers.add(name="fc", blobs=[blob])

    weights = read(file)

    np.testing.assert_array_equal(weights.blobs["fc"][0].data.reshape(2, 3), WEIGHT)


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (
            BlobProto(shape=BlobShape(dim=[2, 3]), data=[1.0]),
            r"shape \[2, 3\] needs 6 values.*has 1",
        ),
        (BlobProto(shape=BlobShape(dim=[2])), r"needs 2 values, the file has 0"),
        (BlobProto(shape=BlobShape(dim=[1]), data=[1.0, 2.0]), r"needs 1 values, the file has 2"),
        (BlobProto(num=2, channels=3, data=[1.0]), r"shape \[2, 3, 0, 0\] needs 0 values"),
        (BlobProto(shape=BlobShape(dim=[-1, -1]), data=[1.0]), r"\[-1, -1\] is not a shape"),
        (
            BlobProto(shape=BlobShape(dim=[1] * 33), data=[1.0]),
            r"is not a shape; the file is damaged",
        ),
        (
            BlobProto(shape=BlobShape(dim=[2**62, 4]), data=[1.0]),
            r"needs \d+ values, the file has 1",
        ),
    ],
)
def test_a_blob_that_contradicts_its_shape_is_refused_with_its_layer(read, blob, reason):
    with pytest.raises(
        CaffemodelError, match=rf"weights\.caffemodel, layer 'fc', blob 0: .*{reason}"
    ):
        read(one_layer(blob))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"name: 'small'\nlayer { name: 'fc' }\n", r"is a text file.*\.prototxt as --prototxt"),
        (b"<!DOCTYPE html>\n<html>404</html>", r"is a text file, not binary weights"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"HDF5 file.*net\.save without _hdf5"),
        (b"PK\x03\x04" + bytes(range(100)), r"is not a whole caffemodel \(104 bytes\)"),
        (WeightFile(name="small\0").SerializeToString(), r"holds no layers"),
    ],
    ids=["prototxt", "html", "hdf5", "zip", "no_layers"],
)
def test_another_kind_of_file_is_refused_with_its_remedy(read, content, reason):
    with pytest.raises(CaffemodelError, match=reason):
        read(content)


def test_a_layer_name_that_is_no_text_is_refused(read):
    damaged = one_layer(blob_proto(WEIGHT)).SerializeToString().replace(b"fc", b"\xff\xfe")

    with pytest.raises(CaffemodelError, match=r"names a layer .* which is no text"):
        read(damaged)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "empty.caffemodel").touch()

    for path in (tmp_path, tmp_path / "empty.caffemodel", tmp_path / "missing.caffemodel"):
        with pytest.raises(FileUnreadable):
            read_weights(path)


def test_a_truncated_caffemodel_is_refused_wherever_it_is_cut(tmp_path):
    prototxt = write_prototxt(tmp_path, CLASSIFIER)
    path = write_weights(tmp_path, {"fc": [WEIGHT, [1.0, 2.0]]})
    whole = path.read_bytes()

    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(BuilderError):
            load_graph(prototxt, path)


FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `read` writes one file anew
)
WHOLE = one_layer(blob_proto(WEIGHT)).SerializeToString()


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(read, content):
    with contextlib.suppress(BuilderError):
        assert isinstance(read(content), Weights)


@FUZZ
@given(position=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_a_file_with_one_wrong_byte_is_read_or_refused(read, position, value):
    damaged = bytearray(WHOLE)
    damaged[position] = value

    with contextlib.suppress(BuilderError):
        assert all(isinstance(name, str) for name in read(bytes(damaged)).blobs)


@pytest.mark.parametrize(
    ("blobs", "reason"),
    [
        ({"other": [WEIGHT]}, r"has no weights for it; expected blobs of shapes \[2, 3\], \[2\]"),
        ({"fc": []}, r"has no weights for it"),
        ({"fc": [WEIGHT]}, r"has blobs of shapes \[2, 3\] for it.*ask for \[2, 3\], \[2\]"),
        ({"fc": [WEIGHT, [1.0, 2.0], [3.0]]}, r"has blobs of shapes \[2, 3\], \[2\], \[1\]"),
        ({"fc": [WEIGHT.T, [1.0, 2.0]]}, r"has blobs of shapes \[3, 2\], \[2\]"),
        ({"fc": [WEIGHT, [[1.0, 2.0]]]}, r"has blobs of shapes \[2, 3\], \[1, 2\]"),
        ({"fc": [WEIGHT, [np.nan, 2.0]]}, r"not finite in its blob 1"),
        ({"fc": [WEIGHT * np.inf, [1.0, 2.0]]}, r"not finite in its blob 0"),
    ],
    ids=["missing", "empty", "too_few", "too_many", "transposed", "more_axes", "nan", "inf"],
)
def test_weights_that_do_not_fit_are_refused_with_files_and_layer(tmp_path, blobs, reason):
    prototxt, weights = write_prototxt(tmp_path, CLASSIFIER), write_weights(tmp_path, blobs)

    with pytest.raises(WeightsError, match=rf"net\.prototxt, layer 'fc' .*{reason}"):
        load_graph(prototxt, weights)


def test_weights_of_layers_that_the_net_does_not_have_are_ignored(tmp_path):
    blobs: Blobs = {"conv_split_0": [[1.0]], "fc": [WEIGHT, [1.0, 2.0]], "loss": [[np.nan]]}

    graph = load_graph(write_prototxt(tmp_path, CLASSIFIER), write_weights(tmp_path, blobs))

    np.testing.assert_array_equal(graph.layers[0].blobs[0], WEIGHT)


def test_a_net_that_needs_weights_is_refused_without_them(tmp_path):
    with pytest.raises(WeightsError, match=r"'fc'.*needs weights of shapes .*give --weights"):
        load_graph(write_prototxt(tmp_path, CLASSIFIER), None)


def test_legacy_blobs_get_the_shape_that_the_layer_asks_for(tmp_path):
    file = WeightFile(name="old")
    weight = BlobProto(num=1, channels=1, height=2, width=3, data=WEIGHT.ravel())
    bias = BlobProto(num=1, channels=1, height=1, width=2, data=[1.0, 2.0])
    file.layers.add(name="fc", blobs=[weight, bias])
    path = tmp_path / "old.caffemodel"
    path.write_bytes(file.SerializeToString())

    graph = load_graph(write_prototxt(tmp_path, CLASSIFIER), path)

    assert [blob.shape for blob in graph.layers[0].blobs] == [(2, 3), (2,)]
