"""Which plans a machine can run, how frames are cut into its batches, and on a GPU, the results."""

import sys

import numpy as np
import onnx
import pytest

from tests.builders import run_onnx
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.errors import PlanError
from tsnd_builder.plans.build import availability, build_plan
from tsnd_builder.plans.gpu import Gpu, find_gpu
from tsnd_builder.plans.options import Backend, PlanOptions, Profile
from tsnd_builder.plans.run import Machine, in_batches, run_plan, this_machine, unavailable

H100 = Gpu("NVIDIA H100", "9.0")
T4 = Gpu("NVIDIA T4", "7.5")


def plan(**changes):
    facts = {"backend": "tensorrt", "backend_version": "11.4.0", "compute_capability": "9.0"}
    return pb.Plan(**{**facts, "hardware_compatibility": "none", **changes})


def machine(problem="", version="11.4.0", gpu: Gpu | None = H100):
    return Machine(problem, version, gpu)


@pytest.mark.parametrize(
    ("facts", "here"),
    [
        ({}, {}),
        ({"version_compatible": True}, {"version": "11.10.0"}),
        ({"version_compatible": True, "backend_version": "10.13.3"}, {}),
        ({"compute_capability": "8.6,9.0"}, {}),
        ({"compute_capability": ""}, {}),
        ({"compute_capability": "8.6", "hardware_compatibility": "ampere-plus"}, {}),
        ({"hardware_compatibility": "same-compute-capability"}, {}),
        ({"refittable": True}, {}),
    ],
    ids=["same", "later", "next", "several", "any", "ampere", "capability", "refittable"],
)
def test_a_machine_like_that_of_the_build_runs_a_plan(facts, here):
    assert unavailable(plan(**facts), machine(**here)) is None


@pytest.mark.parametrize(
    ("facts", "here", "reason"),
    [
        ({}, {"problem": "it is not installed"}, "it is not installed"),
        ({}, {"gpu": None}, "it needs an NVIDIA GPU, and here is no CUDA device or no driver"),
        (
            {},
            {"version": "11.4.1"},
            "it was built by tensorrt 11.4.0, and here is 11.4.1; build it again",
        ),
        (
            {"version_compatible": True, "backend_version": "11.10.0"},
            {},
            "it was built by tensorrt 11.10.0, and here is 11.4.0; build it again",
        ),
        (
            {"compute_capability": "8.6,12.0"},
            {},
            "it was built for compute capability 8.6,12.0, and the NVIDIA H100 here has 9.0; "
            "build it here",
        ),
        (
            {"compute_capability": "8.6", "hardware_compatibility": "same-compute-capability"},
            {},
            "it was built for compute capability 8.6, and the NVIDIA H100 here has 9.0; build it "
            "here",
        ),
        (
            {"compute_capability": ""},
            {"gpu": T4},
            "it was built for compute capability 8.0 and later, and the NVIDIA T4 here has 7.5; "
            "build it here",
        ),
        (
            {"hardware_compatibility": "ampere-plus"},
            {"gpu": T4},
            "it was built for compute capability 9.0, and the NVIDIA T4 here has 7.5; build it "
            "here",
        ),
        (
            {"weight_stripped": True},
            {},
            "its weights are left out (--weight-stripped), and without them it gives no results",
        ),
    ],
    ids=["library", "gpu", "newer", "older", "others", "same", "turing", "ampere", "stripped"],
)
def test_a_plan_that_a_machine_cannot_run_has_one_reason(facts, here, reason):
    assert unavailable(plan(**facts), machine(**here)) == reason


def test_a_backend_that_is_not_installed_is_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)

    here = this_machine("tensorrt")

    assert "the package tensorrt is not installed" in here.problem
    assert not here.problem.endswith(".")


def test_a_backend_of_later_versions_is_why():
    assert this_machine("npu").problem == "this version of tsnd does not know its backend 'npu'"


def test_the_library_here_has_a_version():
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")

    assert this_machine("tensorrt-rtx").version == sys.modules["tensorrt_rtx"].__version__


@pytest.mark.skipif(find_gpu() is not None, reason="for machines without a GPU")
def test_without_a_gpu_no_runtime_is_touched():
    for backend in Backend:
        with pytest.raises(PlanError, match="no CUDA device or no driver"):
            run_plan(b"", backend, profiles=[Profile(1, 1, 1)], inputs=[], outputs=[])


@pytest.mark.parametrize(
    ("profile", "sizes"),
    [
        (Profile(1, 1, 1), [1] * 7),
        (Profile(1, 4, 4), [4, 3]),
        (Profile(4, 4, 4), [4, 4]),
        (Profile(2, 2, 3), [3, 3, 2]),
        (Profile(1, 8, 32), [7]),
        (Profile(9, 9, 32), [9]),
    ],
)
def test_frames_run_in_batches_that_the_profile_allows(profile, sizes):
    frames = np.arange(7, dtype=np.uint8).reshape(7, 1)
    seen, memory = [], np.empty((32, 1), np.float32)

    def infer(batch):
        seen.append(len(batch))
        memory[: len(batch)] = batch + 0.5
        return [memory[: len(batch)], -memory[: len(batch)]]

    higher, lower = in_batches(infer, frames, profile)

    assert seen == sizes
    np.testing.assert_array_equal(higher, frames + np.float32(0.5))
    np.testing.assert_array_equal(lower, -higher)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", list(Backend))
@pytest.mark.parametrize("modality", ["rgb", "flow"])
def test_each_profile_of_a_plan_gives_what_its_graph_does(backend, modality, tiny_repository):
    reason = availability(backend) or this_machine(backend).problem
    if find_gpu() is None or reason:
        pytest.skip(reason or "no CUDA device or no driver")
    model = onnx.load(tiny_repository / f"tiny_{modality}" / "1" / "model.onnx")
    (source,) = model.graph.input
    shape = [dim.dim_value for dim in source.type.tensor_type.shape.dim][1:]
    frames = np.random.default_rng(1).integers(0, 256, (7, *shape), dtype=np.uint8)
    profiles = (Profile(1, 4, 4), Profile(8, 8, 16))

    built = build_plan(model.SerializeToString(), PlanOptions(backend, profiles))
    results = run_plan(
        built.data, backend, profiles=profiles, inputs=[frames], outputs=["features", "scores"]
    )

    expected = run_onnx(model, {"snippets": frames})
    for ((features, scores),) in results:
        largest = np.abs(expected["scores"]).max()
        np.testing.assert_allclose(scores, expected["scores"], atol=2e-4 * largest)
        assert features.shape == expected["features"].shape
