import numpy as np
import onnx
import pytest

from tests.builders import graph_of, layer, net, random_floats, run_onnx
from tsnd_builder.export import export_onnx
from tsnd_builder.precision.half import to_half
from tsnd_builder.precision.rounding import with_roundings

IMAGE = random_floats(1, 2, 3, 8, 8)


@pytest.fixture
def run_rounded(tmp_path):
    """Run a net in FP16, rounded as a GPU rounds; the result is that of its last layer."""

    def run(*layers, float_nodes=()):
        half = to_half(export_onnx(graph_of(tmp_path, net(*layers))), float_nodes=float_nodes)
        model = with_roundings(half)
        onnx.checker.check_model(model, full_check=True)
        (result,) = run_onnx(model, {"data": IMAGE}).values()
        return result

    return run


def power(name, bottom, settings):
    return layer(name, "Power", bottom, name, f"power_param {{ {settings} }}")


UP, DOWN = power("up", "data", "shift: 2048"), power("down", "up", "shift: -2048")


def test_every_result_is_rounded_to_fp16(run_rounded):
    up = IMAGE.astype(np.float16) + np.float16(2048)

    np.testing.assert_array_equal(run_rounded(UP, DOWN), up - np.float16(2048))


def test_what_stays_fp32_is_not_rounded(run_rounded):
    up = IMAGE + np.float32(2048)

    np.testing.assert_array_equal(
        run_rounded(UP, DOWN, float_nodes=["up", "down"]), up - np.float32(2048)
    )
    np.testing.assert_array_equal(
        run_rounded(UP, DOWN, float_nodes=["up"]), up.astype(np.float16) - np.float16(2048)
    )


def test_what_is_too_large_for_fp16_overflows(run_rounded):
    result = run_rounded(power("up", "data", "scale: 60000"), power("down", "up", "scale: 0.0001"))

    is_too_large = np.abs(IMAGE) > 1.1
    assert np.isinf(result[is_too_large]).all()
    assert np.isfinite(result[np.abs(IMAGE) < 1.0]).all()


def test_the_graph_in_fp16_is_not_changed(tiny):
    half = to_half(tiny, float_nodes=["network/fc-action"])
    before = half.SerializeToString()

    with_roundings(half)

    assert half.SerializeToString() == before
