"""Triton's parameters in the daemon's own words."""

import pytest

from tests.kserve import set_parameter
from tsnd.kserve import inference_pb2 as pb
from tsnd_daemon.services.kserve.parameters import RequestOptions, read_options, to_our_priority


def parameters(**values):
    request = pb.ModelInferRequest()
    for name, value in values.items():
        set_parameter(request.parameters, name, value)
    return request.parameters


@pytest.mark.parametrize(
    ("tritons", "ours"), [(0, 1), (1, 0), (2, 1), (3, 2), (4, 2), (2**64 - 1, 2)]
)
def test_priorities_are_translated(tritons, ours):
    assert to_our_priority(tritons) == ours


def test_without_parameters_a_request_is_as_ordinary_as_can_be():
    assert read_options(parameters(), "r") == RequestOptions(
        priority=1, timeout_us=0, sequence=None, wants_final=False
    )


def test_parameters_are_read_and_others_ignored():
    found = read_options(
        parameters(
            priority=1, timeout=5, sequence_id="s", triton_enable_empty_final_response=True, x="y"
        ),
        "r",
    )

    assert found == RequestOptions(
        priority=0, timeout_us=5, sequence=("sequence", "s"), wants_final=True
    )


def test_numbers_may_be_unsigned():
    given = parameters()
    given["priority"].uint64_param = 3
    given["timeout"].uint64_param = 2**64 - 1

    assert read_options(given, "r").priority == 2
    assert read_options(given, "r").timeout_us == 2**64 - 1


@pytest.mark.parametrize("nothing", [0, ""])
def test_an_empty_sequence_is_none(nothing):
    assert read_options(parameters(sequence_id=nothing), "r").sequence is None


def test_sequences_by_number_and_by_text_are_different_ones():
    by_number = read_options(parameters(sequence_id=7), "r").sequence

    assert by_number != read_options(parameters(sequence_id="7"), "r").sequence
    assert by_number == read_options(parameters(sequence_id=7), "r").sequence
