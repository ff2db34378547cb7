import pytest

from tsnd_builder.plans.words import build_complaints, parser_complaint, plain, sentences

MIXED_TYPES = """Invalid Node - add
ITensor::getDimensions: Error Code 4: API Usage Error (add: must have same types. But they are \
Float and Half. In validateTypes at /_src/optimizer/elementWiseNode.cpp:40)
[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at x.cpp:2)"""


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (MIXED_TYPES, "add: must have same types. But they are Float and Half"),
        (
            "[localCheckMacros.cpp::getErrorStr::132] Error Code 2: OutOfMemory (Requested size "
            "was 43777256 bytes.)",
            "Error Code 2: OutOfMemory (Requested size was 43777256 bytes.)",
        ),
        (
            "IBuilder::buildSerializedNetwork: Error Code 1: Myelin ([pass.cpp:337: check] Cannot "
            "compile 'fc' for SM75: FP32 GEMM is not supported. In compileGraph at /_src/a.cpp:2)",
            "Cannot compile 'fc' for SM75: FP32 GEMM is not supported",
        ),
        ("Failed to parse\nthe model.", "Failed to parse the model."),
        ("", ""),
    ],
)
def test_an_error_is_said_without_its_source_location(said, meant):
    assert plain(said) == meant


def test_a_parser_error_names_node_and_operator():
    assert parser_complaint("conv1", "Conv", "no weights") == "node 'conv1' (Conv): no weights"
    assert parser_complaint("", "", "no model") == "no model"


def test_logged_errors_are_said_once_and_without_the_parsers_echo():
    errors = ["ModelImporter.cpp:142: --- Begin node ---", "no memory", "no memory", ""]

    assert build_complaints(errors) == ("no memory",)


def test_one_complaint_stands_on_the_line_of_what_it_is_about_and_several_below():
    assert sentences("it fails", ["no memory."]) == "it fails: no memory."
    assert sentences("it fails", ["no memory.", "no time"]) == "it fails:\n  no memory\n  no time"
