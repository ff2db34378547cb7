"""Requests are read as protobuf reads them, and their raw contents are not copied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kserve import in_region, infer_request, tensor, wanted
from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.wire.infer_requests import parse_infer_request, readable

TEXT = st.text(max_size=8)
PARAMETER = st.one_of(
    st.builds(lambda v: pb.InferParameter(int64_param=v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: pb.InferParameter(string_param=v), TEXT),
    st.builds(lambda v: pb.InferParameter(bool_param=v), st.booleans()),
)
PARAMETERS = st.dictionaries(TEXT, PARAMETER, max_size=3)
INPUT = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=TEXT,
    datatype=TEXT,
    shape=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5),
    parameters=PARAMETERS,
    contents=st.none()
    | st.builds(
        pb.InferTensorContents,
        uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=20),
        bytes_contents=st.lists(st.binary(max_size=9), max_size=3),
    ),
)
OUTPUT = st.builds(
    pb.ModelInferRequest.InferRequestedOutputTensor, name=TEXT, parameters=PARAMETERS
)
REQUEST = st.builds(
    pb.ModelInferRequest,
    model_name=TEXT,
    model_version=TEXT,
    id=TEXT,
    parameters=PARAMETERS,
    inputs=st.lists(INPUT, max_size=3),
    outputs=st.lists(OUTPUT, max_size=3),
    raw_input_contents=st.lists(st.binary(max_size=300), max_size=3),
)


@given(request=REQUEST)
def test_whatever_a_client_writes_is_read_as_protobuf_reads_it(request):
    parsed = parse_infer_request(request.SerializeToString())

    message = readable(parsed)
    assert [bytes(raw) for raw in parsed.raw] == list(request.raw_input_contents)
    assert not message.raw_input_contents
    message.raw_input_contents.extend(request.raw_input_contents)
    assert message == request


@given(data=st.binary(max_size=200))
def test_random_bytes_are_never_more_than_protobuf_would_take(data):
    parsed = parse_infer_request(data)

    if parsed.message is not None:
        pb.ModelInferRequest.FromString(data)


def test_raw_contents_are_views_into_the_message():
    data = infer_request().SerializeToString()

    (raw,) = parse_infer_request(data).raw

    assert isinstance(raw, memoryview)
    assert raw.obj is data


def test_raw_contents_do_not_keep_a_large_rest_in_memory():
    request = infer_request()
    request.inputs[0].contents.uint_contents.extend([1] * 100_000)

    (raw,) = parse_infer_request(request.SerializeToString()).raw

    assert isinstance(raw, bytes)


@pytest.mark.parametrize(
    "request_",
    [
        pb.ModelInferRequest(inputs=[tensor()] * 2_000),
        pb.ModelInferRequest(outputs=[wanted("scores", a=1)] * 1_200),
        pb.ModelInferRequest(raw_input_contents=[b""] * 5_000),
        pb.ModelInferRequest(
            inputs=[tensor(contents=pb.InferTensorContents(bytes_contents=[b""] * 5_000))]
        ),
    ],
)
def test_messages_of_too_many_fields_are_not_parsed(request_):
    with pytest.raises(InvalidRequest, match="over 4096 fields"):
        readable(parse_infer_request(request_.SerializeToString()))


def test_requests_of_many_elements_are_not_ones_of_many_fields():
    request = infer_request()
    request.inputs[0].contents.uint_contents.extend([200] * 100_000)
    in_region(request.inputs[0], "r", 5)

    assert readable(parse_infer_request(request.SerializeToString())).inputs == request.inputs
