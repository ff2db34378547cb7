from types import ModuleType

import pytest

from tsnd_builder.errors import PlanError
from tsnd_builder.plans.library import Library, Log
from tsnd_builder.plans.options import Backend


@pytest.fixture
def library():
    bindings = ModuleType("tensorrt")
    bindings.__version__ = "11.4.0"  # type: ignore[attr-defined]
    return Library(Backend.TENSORRT, bindings, Log())


def test_what_a_library_says_is_signed_with_its_name_and_version(library):
    assert list(library.signed(["slow"])) == ["TensorRT 11.4.0: slow"]


def test_warnings_are_taken_once_and_each_is_on_one_line(library):
    library.log.lines += [("WARNING", "a\n  b"), ("WARNING", "a\n  b"), ("ERROR", "c")]

    assert library.log.errors() == ("c",)
    assert library.log.take_warnings() == ("a b",)
    assert library.log.take_warnings() == ()


def test_a_library_that_cannot_start_cuda_says_what_it_logged(library):
    def start_nothing(_logger):
        library.log.lines.append(("ERROR", "CUDA initialization failure with error: 35"))
        raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(PlanError, match=r"TensorRT 11\.4\.0 does not start: CUDA init.*error: 35"):
        library.start(start_nothing)
