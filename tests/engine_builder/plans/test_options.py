from pathlib import Path

import pytest

from tsnd_builder.errors import SelectionError
from tsnd_builder.plans.options import (
    Backend,
    HardwareCompatibility,
    PlanOptions,
    Profile,
    parse_profile,
    profiles_for,
)

PROFILES = (Profile(1, 4, 8),)


@pytest.mark.parametrize("text", ["1,4,8", " 1, 4 ,8", "01,4,8"])
def test_a_profile_is_three_batch_sizes(text):
    assert parse_profile(text) == Profile(min=1, opt=4, max=8)


@pytest.mark.parametrize("text", ["", "8", "1,8", "1,4,8,16", "1,4,x", "1,-4,8", "1,4.0,8", "1,,8"])
def test_what_is_no_profile_is_refused_with_an_example(text):
    with pytest.raises(SelectionError, match=r"not an optimization profile.*such as 1,4,8"):
        parse_profile(text)


@pytest.mark.parametrize("text", ["0,4,8", "4,1,8", "1,9,8", "8,4,1"])
def test_a_profile_out_of_order_is_refused(text):
    with pytest.raises(SelectionError, match=rf"{text} is not .* 1 <= MIN <= OPT <= MAX"):
        parse_profile(text)


def test_the_default_profile_is_tuned_for_the_largest_batch():
    assert profiles_for(16) == (Profile(min=1, opt=16, max=16),)
    with pytest.raises(SelectionError):
        profiles_for(0)


@pytest.mark.parametrize("backend", Backend)
def test_options_keep_fp32_exact_by_default(backend):
    assert PlanOptions(backend, PROFILES).tf32 is False


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"profiles": ()}, "at least one optimization profile"),
        ({"workspace_bytes": 0}, "a workspace of 0 bytes"),
        ({"optimization_level": 6}, "the optimization level is 0 to 5, not 6"),
        ({"optimization_level": -1}, "the optimization level is 0 to 5, not -1"),
        ({"compute_capabilities": ("sm86",)}, "'sm86' is not a compute capability such as 8.6"),
    ],
)
@pytest.mark.parametrize("backend", Backend)
def test_a_value_that_is_none_is_refused(backend, option, said):
    with pytest.raises(SelectionError, match=said):
        PlanOptions(**{"backend": backend, "profiles": PROFILES, **option})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"timing_cache": Path("cache")}, "no timing cache: it times no kernels"),
        ({"optimization_level": 3}, "no optimization level: it builds the same plan"),
        ({"version_compatible": True}, "no version compatibility"),
        (
            {"hardware_compatibility": HardwareCompatibility.AMPERE_PLUS},
            "no hardware compatibility: choose compute capabilities",
        ),
    ],
)
def test_tensorrt_rtx_is_not_asked_for_what_it_ignores(option, said):
    with pytest.raises(SelectionError, match=f"TensorRT-RTX has {said}"):
        PlanOptions(Backend.TENSORRT_RTX, PROFILES, **option)
    PlanOptions(Backend.TENSORRT, PROFILES, **option)


def test_tensorrt_is_not_asked_for_other_gpus():
    with pytest.raises(SelectionError, match="hardware compatibility or the backend tensorrt-rtx"):
        PlanOptions(Backend.TENSORRT, PROFILES, compute_capabilities=("8.6",))


def test_all_problems_are_named_at_once():
    with pytest.raises(SelectionError, match=r"a workspace of.*; TensorRT-RTX has no timing cache"):
        PlanOptions(Backend.TENSORRT_RTX, PROFILES, workspace_bytes=-1, timing_cache=Path("cache"))
