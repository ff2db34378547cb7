"""Plans are really built where TensorRT-RTX is installed, which needs no GPU."""

import contextlib
import os
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tsnd_builder.errors import PlanError, SelectionError
from tsnd_builder.plans.build import availability, build_plan
from tsnd_builder.plans.gpu import find_gpu
from tsnd_builder.plans.options import (
    Backend,
    HardwareCompatibility,
    PlanOptions,
    Profile,
    profiles_for,
)
from tsnd_builder.plans.progress import Progress
from tsnd_builder.plans.tensors import IOTensor
from tsnd_builder.precision.half import to_half

RTX = Backend.TENSORRT_RTX
needs_rtx = pytest.mark.skipif(availability(RTX) is not None, reason=str(availability(RTX)))
without_gpu = pytest.mark.skipif(find_gpu() is not None, reason="for machines without a GPU")


def options(**changes):
    return PlanOptions(**{"backend": RTX, "profiles": profiles_for(4), **changes})


@pytest.fixture(scope="module", params=["rgb", "flow"])
def serving_graph(request, tiny_repository):
    return (tiny_repository / f"tiny_{request.param}" / "1" / "model.onnx").read_bytes()


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(*nodes, shape=("N", 3), kind=TensorProto.FLOAT):
    """Serialize a graph from `x` to `y`, with constants `half` and `floats`."""
    half, floats = np.ones(3, np.float16), np.ones((3, 3), np.float32)
    graph = helper.make_graph(
        list(nodes),
        "small",
        [value("x", shape, kind)],
        [value("y", shape, kind)],
        [numpy_helper.from_array(half, "half"), numpy_helper.from_array(floats, "floats")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("unknown", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


MATMUL = helper.make_node("MatMul", ["x", "floats"], ["y"], name="matmul")


@needs_rtx
def test_a_serving_graph_becomes_a_plan(serving_graph):
    plan = build_plan(serving_graph, options())

    assert len(plan.data) > 10_000
    assert (plan.backend, plan.compute_capability) == (RTX, "")
    assert plan.backend_version.split(".")[0].isdecimal()
    (snippets,) = plan.inputs
    assert (snippets.name, snippets.dtype) == ("snippets", "uint8")
    assert snippets.shape in [(-1, 16, 21, 3), (-1, 10, 16, 21)]
    assert plan.outputs == (
        IOTensor("scores", "float32", (-1, 5)),
        IOTensor("features", "float32", (-1, 10)),
    )
    assert plan.parser_warnings == ()
    assert plan.build_seconds > 0


@needs_rtx
def test_an_fp16_graph_becomes_a_plan_with_the_same_inputs_and_outputs(serving_graph):
    half = to_half(onnx.load_from_string(serving_graph), float_nodes=())

    plan = build_plan(half.SerializeToString(), options())

    full = build_plan(serving_graph, options())
    assert (plan.inputs, plan.outputs) == (full.inputs, full.outputs)
    assert plan.data != full.data


@needs_rtx
@without_gpu
def test_without_a_gpu_none_is_named():
    assert build_plan(model(MATMUL), options()).gpu == ""


@needs_rtx
def test_a_plan_can_have_several_profiles(serving_graph):
    one = build_plan(serving_graph, options())

    two = build_plan(serving_graph, options(profiles=(Profile(1, 1, 1), Profile(2, 8, 16))))

    assert len(two.data) > len(one.data)


@needs_rtx
def test_a_plan_is_built_for_chosen_compute_capabilities(serving_graph):
    plan = build_plan(serving_graph, options(compute_capabilities=("8.6", "12.0")))

    assert plan.compute_capability == "8.6,12.0"


@needs_rtx
def test_an_unknown_compute_capability_is_refused(serving_graph):
    with pytest.raises(PlanError, match=r"capability 9\.9 .*not supported"):
        build_plan(serving_graph, options(compute_capabilities=("9.9",)))


@needs_rtx
def test_what_the_target_cannot_do_is_said_with_the_node(serving_graph):
    with pytest.raises(PlanError, match=r"cannot build this plan: .*Turing.*FP32"):
        build_plan(serving_graph, options(compute_capabilities=("7.5",)))


@needs_rtx
def test_a_workspace_limit_holds(serving_graph):
    build_plan(serving_graph, options(workspace_bytes=64 << 20))

    with pytest.raises(PlanError, match=r"workspace.*Allow a larger workspace"):
        build_plan(serving_graph, options(workspace_bytes=1))


@needs_rtx
def test_tf32_is_written_into_the_plan_when_asked_for():
    exact, rounded = (build_plan(model(MATMUL), options(tf32=tf32)) for tf32 in (False, True))

    assert exact.data != rounded.data


@needs_rtx
@without_gpu
@pytest.mark.parametrize("option", ["weight_stripped", "refittable"])
def test_plans_to_refit_need_a_gpu(option):
    with pytest.raises(PlanError, match=r"only where there is a GPU.*build on a machine with one"):
        build_plan(model(MATMUL), options(**{option: True}))


@pytest.mark.parametrize("option", [{"timing_cache": "file"}, {"version_compatible": True}])
def test_what_tensorrt_rtx_ignores_is_refused_before_anything_is_built(option):
    with pytest.raises(SelectionError, match="TensorRT-RTX has no"):
        build_plan(b"never read", options(**option))


@needs_rtx
@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (b"no model at all", r"does not take this graph: .*Failed to parse the ONNX model"),
        (b"", r"no inputs or no outputs; is it an ONNX model\?"),
        (
            model(helper.make_node("Add", ["x", "half"], ["y"], name="add")),
            r"node 'add' \(Add\): .*same input types.*Float and Half\. Serve it with ONNX Runtime",
        ),
        (
            model(helper.make_node("Add", ["x", "nobody"], ["y"], name="add")),
            r"node 'add' \(Add\): .*input was not registered",
        ),
        (
            model(helper.make_node("Neg", ["x"], ["y"], name="bytes"), kind=TensorProto.UINT8),
            r"node 'bytes' \(Neg\)",
        ),
        (
            model(
                helper.make_node("One", ["x"], ["a"], name="first", domain="unknown"),
                helper.make_node("Two", ["a"], ["y"], name="second", domain="unknown"),
            ),
            r"(?s)node 'first' \(One\).*\n.*node 'second' \(Two\)",
        ),
        (model(MATMUL, shape=(2, 3)), r"'x' has the shape \[2, 3\]; .* open batch axis"),
        (model(MATMUL, shape=("N", "M")), r"'x' has the shape \[-1, -1\]"),
    ],
    ids=["text", "empty", "types", "missing", "bytes", "operators", "fixed", "open"],
)
def test_a_graph_that_tensorrt_does_not_take_is_refused_with_the_reason(graph, said):
    with pytest.raises(PlanError, match=said):
        build_plan(graph, options())


@needs_rtx
def test_warnings_of_the_parser_are_kept_and_reported():
    graph = model(helper.make_node("Neg", ["x"], ["y"], name="neg"), kind=TensorProto.INT64)
    lines: list[str] = []

    plan = build_plan(graph, options(), report=lines.append)

    assert any("Int64 binding" in warning for warning in plan.parser_warnings)
    assert lines[: len(plan.parser_warnings)] == [
        f"TensorRT-RTX {plan.backend_version}: {warning}" for warning in plan.parser_warnings
    ]


@needs_rtx
@pytest.mark.parametrize("graph", [model(MATMUL), b"no model"])
def test_tensorrt_writes_nothing_to_the_terminal(graph, capfd):
    with contextlib.suppress(PlanError):
        build_plan(graph, options())

    assert capfd.readouterr() == ("", "")


@needs_rtx
def test_progress_is_told_from_start_to_end():
    seen: list[Progress] = []

    build_plan(model(MATMUL), options(), progress=seen.append)

    fractions = [progress.fraction for progress in seen]
    assert isinstance(seen[0], Progress)
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] > 0.7


@needs_rtx
def test_ctrl_c_cancels_a_build(serving_graph):
    def interrupt(progress):
        if progress.fraction > 0 and not pressed:
            pressed.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    pressed = []

    with pytest.raises(KeyboardInterrupt):
        build_plan(serving_graph, options(), progress=interrupt)

    assert build_plan(serving_graph, options()).data


@needs_rtx
def test_what_progress_raises_cancels_a_build_and_comes_back():
    def fail(progress):
        raise OSError("the terminal is gone")

    with pytest.raises(OSError, match="the terminal is gone"):
        build_plan(model(MATMUL), options(), progress=fail)


@needs_rtx
def test_a_failed_build_leaves_nothing_for_the_next(serving_graph):
    with pytest.raises(PlanError):
        build_plan(model(helper.make_node("Add", ["x", "half"], ["y"])), options())

    lines: list[str] = []
    build_plan(serving_graph, options(), report=lines.append)
    assert not any("Float and Half" in line for line in lines)


@needs_rtx
def test_polygraphy_serves_a_process_that_used_it_for_tensorrt():
    """Its modules remember which of the two libraries they were first imported for."""
    program = """
import polygraphy.backend.trt
from tests.engine_builder.plans.test_build import MATMUL, build_plan, model, options
print(len(build_plan(model(MATMUL), options()).data) > 1000)
"""
    paths = os.pathsep.join(filter(None, sys.path))

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def write_package(folder, name, text):
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)


def import_anew(monkeypatch, name):
    """Let a package be imported from the path again, and forget that after the test."""
    monkeypatch.setitem(sys.modules, name, None)  # makes even one that was not there be undone
    monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("backend", "package", "extra"),
    [
        (Backend.TENSORRT, "tensorrt", r"\[builder,tensorrt\]"),
        (Backend.TENSORRT_RTX, "tensorrt_rtx", r"\[builder,tensorrt-rtx\]"),
    ],
)
def test_a_backend_that_is_not_installed_says_how_to(backend, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)

    assert f"the package {package} is not installed" in str(availability(backend))
    with pytest.raises(PlanError, match=rf"pip install .*{extra}"):
        build_plan(b"", PlanOptions(backend, profiles_for(4)))


def test_a_backend_that_does_not_load_says_why(tmp_path, monkeypatch):
    missing = "libnvinfer.so.11: cannot open shared object file"
    write_package(tmp_path, "tensorrt", f"raise ImportError({missing!r})")
    monkeypatch.syspath_prepend(tmp_path)
    import_anew(monkeypatch, "tensorrt")

    assert f"installed but does not load ({missing})" in str(availability(Backend.TENSORRT))


@without_gpu
def test_tensorrt_is_not_touched_without_a_gpu(tmp_path, monkeypatch):
    pytest.importorskip("polygraphy", reason="Polygraphy is not installed")
    touched = "class ILogger: pass\ndef __getattr__(name): raise SystemExit(name)"
    write_package(tmp_path, "tensorrt", touched)
    monkeypatch.syspath_prepend(tmp_path)
    import_anew(monkeypatch, "tensorrt")

    with pytest.raises(PlanError, match=r"no CUDA device or no driver.*tensorrt-rtx"):
        build_plan(model(MATMUL), PlanOptions(Backend.TENSORRT, profiles_for(4)))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"version_compatible": True},
        {"hardware_compatibility": HardwareCompatibility.AMPERE_PLUS},
        {"weight_stripped": True},
        {"optimization_level": 0, "workspace_bytes": 1 << 30, "tf32": True},
    ],
    ids=lambda changes: "-".join(changes) or "plain",
)
def test_tensorrt_builds_a_plan_that_loads_on_its_gpu(serving_graph, changes, tmp_path):
    reason = availability(Backend.TENSORRT)
    if reason is not None:
        pytest.skip(reason)
    cache = tmp_path / "timing.cache"

    plans = [
        build_plan(serving_graph, options(backend=Backend.TENSORRT, timing_cache=cache, **changes))
        for _ in ("without", "with")
    ]

    gpu = find_gpu()
    assert gpu is not None
    assert [(plan.gpu, plan.compute_capability) for plan in plans] == 2 * [
        (gpu.name, gpu.compute_capability)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["timing.cache"]
