import contextlib

import pytest
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import layer, net
from tsnd.caffe.net_pb2 import TEST, TRAIN, LayerParameter, NetParameter, PoolingParameter
from tsnd_builder.caffe.prototxt import read_prototxt
from tsnd_builder.errors import BuilderError, FileUnreadable, PrototxtError

CONVERTIBLE = frozenset({"Convolution", "Pooling", "ReLU"})
RELU = layer("r", "ReLU", "data", "r")


@pytest.fixture
def read(tmp_path):
    """Read a prototxt of this content: text, or bytes as they are."""

    def read_content(content):
        path = tmp_path / "net.prototxt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_prototxt(path, convertible=CONVERTIBLE)

    return read_content


def relu_with(settings_text):
    return layer("r", "ReLU", "data", "r", settings_text)


def pooling_with(settings_text):
    return layer("p", "Pooling", "data", "p", f"pooling_param {{ {settings_text} }}")


@pytest.mark.parametrize(
    "settings_text",
    [
        "kernel_size: 3 stride: 2",
        "kernel_size: 3, stride: 2,",
        "kernel_size: 3; stride: 2;",
        "kernel_size:3\tstride:2",
        "kernel_size: 3 # three\n stride: 2 # and a { brace, a \" quote, a 'tick\n",
        "kernel_size: 0x3 stride: 002",
        "kernel_size: 03 stride: 0X2",
        "kernel_size\n:\n3\nstride\n:\n2",
    ],
)
def test_separators_comments_and_number_bases_do_not_matter(read, settings_text):
    pooling = read(pooling_with(settings_text)).layer[0].pooling_param

    assert (pooling.kernel_size, pooling.stride) == (3, 2)


@pytest.mark.parametrize(
    "block",
    [
        "pooling_param { pad: 1 }",
        "pooling_param: { pad: 1 }",
        "pooling_param < pad: 1 >",
        "pooling_param: < pad: 1; >,",
        "pooling_param{pad:1}",
        "pooling_param\n{\n  pad: 1\n}",
    ],
)
def test_a_block_may_be_braced_in_any_way(read, block):
    text = layer("p", "Pooling", "data", "p", block)

    assert read(text).layer[0].pooling_param.pad == 1


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"a" "b"', "ab"),
        ("'a'\n\t\"b\" # then\n 'c'", "abc"),
        (r'"c\x31\061"', "c11"),
        (r"'it\'s'", "it's"),
        ('"it\'s"', "it's"),
        ('"a # b"', "a # b"),
        ('"a - 2 {"', "a - 2 {"),
        ('"caf\N{LATIN SMALL LETTER E WITH ACUTE}"', "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ],
)
def test_strings_are_read_as_text_format_means_them(read, written, name):
    assert read(f"name: {written}\n{RELU}").name == name


@pytest.mark.parametrize(
    ("written", "slope"),
    [
        ("2", 2.0),
        ("2.0f", 2.0),
        ("2F", 2.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("25e-2", 0.25),
        ("- 2", -2.0),
        ("-\t.5", -0.5),
        ("-2", -2.0),
    ],
)
def test_floats_may_be_written_in_any_of_caffes_ways(read, written, slope):
    relu = read(relu_with(f"relu_param {{ negative_slope: {written} }}")).layer[0].relu_param

    assert relu.negative_slope == slope


@pytest.mark.parametrize(
    ("written", "value"),
    [(word, True) for word in ("true", "True", "t", "1")]
    + [(word, False) for word in ("false", "False", "f", "0")],
)
def test_bools_may_be_words_letters_or_digits(read, written, value):
    net_parameter = read(f"force_backward: {written}\n{RELU}")

    assert net_parameter.HasField("force_backward")
    assert net_parameter.force_backward is value


@pytest.mark.parametrize("written", ["AVE", "1", "0x1"])
def test_an_enum_may_be_given_by_name_or_by_number(read, written):
    pooling = read(pooling_with(f"pool: {written} kernel_size: 2")).layer[0].pooling_param

    assert pooling.pool == PoolingParameter.AVE


@pytest.mark.parametrize(
    "dims",
    ["dim: 1 dim: 3 dim: 8", "dim: [1, 3, 8]", "dim: [1,3], dim: 8", "dim: [ 1 , 0x3 ] dim: 010"],
)
def test_a_repeated_field_may_be_a_list(read, dims):
    shape = read(f'input: "data" input_shape {{ {dims} }}\n{RELU}').input_shape[0]

    assert list(shape.dim) == [1, 3, 8]


def test_a_list_may_hold_messages_and_strings(read):
    text = "layer: [ { name: 'a' bottom: ['x', 'y' 'z'] }, < name: 'b' > ]"

    layers = read(text).layer

    assert [entry.name for entry in layers] == ["a", "b"]
    assert list(layers[0].bottom) == ["x", "yz"]


@pytest.mark.parametrize(
    "content",
    [
        RELU.replace(" ", "\r\n").encode(),
        b"\xef\xbb\xbf" + RELU.encode(),
        b"# un r\xe9seau\n" + RELU.encode(),
        "# un r\N{LATIN SMALL LETTER E WITH ACUTE}seau\n".encode() + RELU.encode(),
        RELU.rstrip().encode(),
    ],
    ids=["crlf", "bom", "latin1_comment", "utf8_comment", "no_newline_at_the_end"],
)
def test_line_ends_marks_and_encodings_of_old_files_do_not_matter(read, content):
    assert read(content).layer[0].name == "r"


def test_fields_are_kept_as_they_were_set_or_not(read):
    entry = read(relu_with("include: { phase: TRAIN } phase: TEST")).layer[0]

    assert entry.include[0].phase == TRAIN
    assert entry.phase == TEST
    assert not entry.HasField("relu_param")


@pytest.mark.parametrize(
    ("text", "line", "message", "field"),
    [
        ("inputs: 'data'\n" + RELU, 1, "NetParameter", "inputs"),
        (RELU + "nmae: 'x'\n", 2, "NetParameter", "nmae"),
        ("input_shape {\n  dims: 1\n}\n" + RELU, 2, "BlobShape", "dims"),
        ("state { stages: 'a' }\n" + RELU, 1, "NetState", "stages"),
    ],
)
def test_a_misspelt_field_of_the_net_is_refused_with_its_line(read, text, line, message, field):
    with pytest.raises(
        PrototxtError, match=rf"net\.prototxt, line {line}: {message} has no field '{field}'"
    ):
        read(text)


@pytest.mark.parametrize(
    ("settings_text", "line", "message", "field"),
    [
        ("\n pooling_param {\n kernal_size: 3 }", 4, "PoolingParameter", "kernal_size"),
        ("pooling_parm { kernel_size: 3 }", 2, "LayerParameter", "pooling_parm"),
        ("\r\n\r\nparam { lr_mul: 1 }", 4, "ParamSpec", "lr_mul"),
        ("include { phases: TRAIN }", 2, "NetStateRule", "phases"),
        ("pooling_param { pad: 1 round_mode: FLOOR }", 2, "PoolingParameter", "round_mode"),
    ],
)
def test_a_misspelt_field_of_a_layer_is_refused_with_line_and_layer(
    read, settings_text, line, message, field
):
    text = RELU + layer("pool1", "Pooling", "r", "p", settings_text)

    with pytest.raises(
        PrototxtError,
        match=rf"line {line}, layer 'pool1': {message} has no field '{field}'.*spelling",
    ):
        read(text)


@pytest.mark.parametrize(
    "block",
    [
        "video_data_param { source: 'list.txt' nested { a: [1, - 2] } }",
        "transform_param: < crop_size: 224 mean_value: [104, 117, 123] >",
        "loss_param { normalize: false } weird: 'x' \"y\"",
        "include: { phase: TRAIN } python_param { module: 'm' }",
    ],
)
def test_unknown_blocks_of_layers_that_are_not_converted_are_tolerated(read, block):
    text = layer("data", "VideoData", "", "data label", block) + RELU

    assert [entry.name for entry in read(text).layer] == ["data", "r"]


def test_a_misspelling_inside_a_known_block_is_refused_in_any_layer(read):
    text = layer("d", "VideoData", "", "data", "include { fase: TRAIN }") + RELU

    with pytest.raises(PrototxtError, match="layer 'd': NetStateRule has no field 'fase'"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "layers { name: 'c' type: CONVOLUTION }",
        "layers { layer { name: 'c' type: 'conv' } }",
        "layer { name: 'c' type: 'Convolution' }",
    ],
    ids=["v1", "v0", "present"],
)
def test_every_format_is_read_as_the_present_one(read, text):
    assert read(text) == NetParameter(layer=[LayerParameter(name="c", type="Convolution")])


@pytest.mark.parametrize(
    "layers",
    [
        "layers { name: 'pool1' type: POOLING pooling_param { kernal_size: 3 } }",
        "layers { name: 'pool1' type: POOLING kernal_size: 3 }",
        "layers { layer { name: 'pool1' type: 'pool' kernal_size: 3 } }",
    ],
    ids=["v1", "v1_layer", "v0"],
)
def test_a_misspelt_field_of_an_older_format_is_refused_too(read, layers):
    with pytest.raises(PrototxtError, match=r"line 2.*has no field 'kernal_size'"):
        read(f"name: 'old'\n{layers}")


@pytest.mark.parametrize("start", ["name: 'd' type: DATA", "layer { name: 'd' type: 'data' }"])
def test_unknown_blocks_of_older_layers_that_are_not_converted_are_tolerated(read, start):
    text = f"layers {{ {start} data_param {{ source: 'db' }} }}"

    assert [entry.type for entry in read(text).layer] == ["Data"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("layer {", "Expected"),
        ("layer { name: 'a }", "missing ending quote"),
        ("name: 5\n" + RELU, "Expected string"),
        (pooling_with("kernel_size: 1.5"), "Couldn't parse integer"),
        (pooling_with("kernel_size: -1"), "out of range"),
        (pooling_with("kernel_size: 4294967296"), "out of range"),
        (pooling_with("pool: MEDIAN"), "no value named MEDIAN"),
        (pooling_with("pool: 7"), "no value with number 7"),
        (pooling_with("pad: 1 pad: 2"), "multiple"),
        (relu_with("[some.extension]: 1"), "extensions"),
        ("<!DOCTYPE html><html></html>", "Expected identifier"),
        ("\N{SNOWMAN}", "Expected identifier"),
        ('name: "a', "missing ending quote"),
    ],
)
def test_text_that_is_no_prototxt_is_refused_with_the_reason(read, text, reason):
    with pytest.raises(PrototxtError, match=rf"net\.prototxt is not a valid prototxt.*{reason}"):
        read(text)


def test_nesting_without_end_is_refused(read):
    deep = "x { " * 100_000 + "}" * 100_000

    with pytest.raises(PrototxtError, match="not a valid prototxt"):
        read(layer("d", "Data", "", "data", deep) + RELU)


@pytest.mark.parametrize("text", ["name: 'x'", "\n", "# only a comment", 'input: "data"'])
def test_a_text_without_layers_is_refused(read, text):
    with pytest.raises(PrototxtError, match="describes no layers"):
        read(text)


@pytest.mark.parametrize(
    "content",
    [b"\x0a\x05small\xa2\x06\x00", RELU.encode("utf-16")],
    ids=["caffemodel", "utf16"],
)
def test_a_binary_file_is_refused_as_one(read, content):
    with pytest.raises(PrototxtError, match=r"binary file.*belongs to --weights"):
        read(content)


def test_files_that_cannot_be_read_are_refused_before_anything_else(tmp_path):
    (tmp_path / "empty.prototxt").touch()

    for path in (tmp_path, tmp_path / "empty.prototxt", tmp_path / "missing.prototxt"):
        with pytest.raises(FileUnreadable):
            read_prototxt(path, convertible=CONVERTIBLE)


FUZZ = settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # `read` writes one file anew
)
WORDS = "layer name bottom pooling_param kernel_size pool MAX true 1 -2 .5 0x 1e9 'a' \"b"
PIECES = st.sampled_from([*WORDS.split(), *"{}<>[]:,;#-'\"\\\n"])


def read_or_refuse(read, content):
    """Read a file; only a BuilderError may come out of it."""
    with contextlib.suppress(BuilderError):
        assert isinstance(read(content), NetParameter)


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(read, content):
    read_or_refuse(read, content)


@FUZZ
@given(pieces=st.lists(PIECES, max_size=40))
def test_random_pieces_of_text_format_are_read_or_refused(read, pieces):
    read_or_refuse(read, " ".join(pieces))


def test_a_file_cut_at_any_point_is_read_or_refused(read):
    text = net(layer("p", "Pooling", "data", "p", "pooling_param { kernel_size: 3 pool: AVE }"))

    for length in range(len(text)):
        read_or_refuse(read, text[:length])


def test_what_is_written_is_what_is_read(read):
    written = NetParameter(name="net", input=["data"], input_dim=[1, 3, 8, 8])
    written.layer.add(name="p", type="Pooling").pooling_param.kernel_size = 3

    assert read(text_format.MessageToString(written)) == written
