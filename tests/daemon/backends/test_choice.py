from dataclasses import replace
from pathlib import Path

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.backends.choice import choose
from tsnd_daemon.backends.machine import Machine
from tsnd_daemon.errors import PackageError, SettingsError
from tsnd_daemon.executors.tensorrt.checks import Gpu
from tsnd_daemon.model_store import Package
from tsnd_daemon.settings import ExecutionOptions

FOLDER = Path("models/kinetics_rgb/1")
HOPPER, ADA = Gpu(0, "H100", "9.0"), Gpu(1, "L40", "8.9")
CPU = Machine((), {}, frozenset({"CPUExecutionProvider"}), frozenset({"avx2"}), 8)
WITH_OPENVINO = replace(CPU, libraries={"openvino": "2026.4.1"})
WITH_CUDA = replace(
    WITH_OPENVINO,
    gpus=(HOPPER,),
    providers=CPU.providers | {"CUDAExecutionProvider"},
)
FULL = replace(
    WITH_CUDA,
    libraries={
        "openvino": "2026.4.1",
        "pycuda": "2026.1",
        "tensorrt": "11.4.0.106",
        "tensorrt_rtx": "1.7.1.116",
    },
    providers=WITH_CUDA.providers | {"NvTensorRTRTXExecutionProvider"},
)
SERVING, TENSORRT = pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_TENSORRT_ONNX
FP32, FP16, INT8 = pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8


def graph(file, precision=pb.PRECISION_UNSPECIFIED, kind=SERVING):
    return pb.Artifact(file=file, kind=kind, precision=precision, sha256=f"of {file}")


def plan(file, precision=FP16, backend="tensorrt", *, source="fp32.onnx", largest=8, **overrides):
    version = "11.4.0.106" if backend == "tensorrt" else "1.7.1.116"
    facts = {
        "backend": backend,
        "backend_version": version,
        "compute_capability": "9.0",
        "source_sha256": f"of {source}",
        "profiles": [pb.Profile(min=1, opt=largest, max=largest)],
    }
    built = pb.Plan(**{**facts, **overrides})
    return pb.Artifact(file=file, kind=pb.ARTIFACT_KIND_PLAN, precision=precision, plan=built)


GRAPHS = (graph("fp32.onnx"), graph("fp16.onnx", FP16), graph("int8.onnx", INT8))


def chosen(machine, *artifacts, backend="auto", precision="auto", **options):
    package = Package(pb.ModelManifest(artifacts=artifacts or GRAPHS), FOLDER)
    return choose(package, ExecutionOptions(backend, precision, 8, **options), machine)


def file_and_backend(machine, *artifacts, **options):
    model = chosen(machine, *artifacts, **options).model
    assert model.path == FOLDER / model.artifact.file
    return model.artifact.file, model.backend


def test_auto_takes_the_first_backend_that_package_and_machine_have():
    tensorrt, rtx = plan("trt.plan"), plan("rtx.plan", backend="tensorrt-rtx")

    assert file_and_backend(FULL, *GRAPHS, rtx, tensorrt) == ("trt.plan", "tensorrt")
    assert file_and_backend(FULL, *GRAPHS, rtx) == ("rtx.plan", "tensorrt-rtx")
    assert file_and_backend(FULL) == ("fp16.onnx", "cuda")
    assert file_and_backend(WITH_CUDA, *GRAPHS, rtx, tensorrt) == ("fp16.onnx", "cuda")
    assert file_and_backend(WITH_OPENVINO, *GRAPHS, tensorrt) == ("fp32.onnx", "openvino")
    assert file_and_backend(CPU) == ("fp32.onnx", "onnxruntime")


def test_auto_says_why_it_passed_backends_over():
    assert chosen(CPU, *GRAPHS, plan("trt.plan")).passed_over == (
        "tensorrt: tensorrt and pycuda are not installed",
        "tensorrt-rtx: the package has no plan for it",
        "cuda: ONNX Runtime has no CUDAExecutionProvider here",
        "openvino: OpenVINO is not installed",
    )
    assert chosen(FULL, *GRAPHS, plan("trt.plan")).passed_over == ()


def test_a_gpu_backend_needs_a_gpu():
    no_gpu = replace(FULL, gpus=())

    assert file_and_backend(no_gpu, *GRAPHS, plan("trt.plan")) == ("fp32.onnx", "openvino")
    with pytest.raises(SettingsError, match=r"no CUDA device or no driver.*nvidia-smi"):
        chosen(no_gpu, backend="cuda")


def test_gpus_take_fp16_where_it_is_and_cpus_fp32():
    fp32 = plan("fp32.plan", FP32)

    assert file_and_backend(FULL, *GRAPHS, fp32, plan("fp16.plan"))[0] == "fp16.plan"
    assert file_and_backend(FULL, *GRAPHS, fp32)[0] == "fp32.plan"
    assert file_and_backend(FULL, GRAPHS[0]) == ("fp32.onnx", "cuda")
    assert file_and_backend(FULL, backend="onnxruntime")[0] == "fp32.onnx"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("backend", ["cuda", "openvino", "onnxruntime", "synthetic"])
def test_a_precision_that_is_asked_for_is_taken(backend, precision):
    found = file_and_backend(FULL, backend=backend, precision=precision)

    assert found == (f"{precision}.onnx", backend)


def test_an_fp32_plan_does_not_stand_in_for_int8():
    assert file_and_backend(FULL, *GRAPHS, plan("fp32.plan", FP32), precision="int8") == (
        "int8.onnx",
        "cuda",
    )


def test_tensorrt_rtx_in_onnx_runtime_takes_the_graph_quantized_for_tensorrt():
    own = graph("int8-tensorrt.onnx", INT8, TENSORRT)
    options = {"backend": "nv-tensorrt-rtx", "precision": "int8"}

    assert file_and_backend(FULL, *GRAPHS, own, **options)[0] == "int8-tensorrt.onnx"
    assert file_and_backend(FULL, *GRAPHS, **options)[0] == "int8.onnx"
    assert file_and_backend(FULL, *GRAPHS, own, backend="cuda", precision="int8")[0] == "int8.onnx"


def test_of_plans_for_several_gpus_the_one_for_this_is_taken():
    plans = (
        plan("ada.plan", compute_capability="8.9"),
        plan("any.plan", hardware_compatibility="ampere-plus"),
        plan("hopper.plan", hardware_compatibility="none"),
    )

    assert file_and_backend(FULL, *GRAPHS, *plans)[0] == "hopper.plan"
    assert file_and_backend(FULL, *GRAPHS, *plans[:2])[0] == "any.plan"


def test_a_plan_must_fit_all_devices():
    two = replace(FULL, gpus=(HOPPER, ADA))
    own, any_gpu = plan("own.plan"), plan("any.plan", hardware_compatibility="ampere-plus")

    assert file_and_backend(two, *GRAPHS, own, any_gpu, devices=(0, 1))[0] == "any.plan"
    assert file_and_backend(two, *GRAPHS, own, any_gpu, devices=(0,))[0] == "own.plan"


@pytest.mark.parametrize(
    ("unfit", "why"),
    [
        ({"backend_version": "10.13.0.35"}, "built by tensorrt 10.13.0.35, and here is 11.4.0.106"),
        ({"compute_capability": "8.9"}, "built for compute capability 8.9"),
        ({"source": "old.onnx"}, "has been replaced since"),
        ({"largest": 4}, "at most 4 snippets and max_batch_size is 8"),
        ({"weight_stripped": True}, "its weights are left out"),
    ],
)
def test_a_plan_that_does_not_fit_is_passed_over_or_refused(unfit, why):
    artifacts = (*GRAPHS, plan("trt.plan", **unfit))

    choice = chosen(FULL, *artifacts)

    assert choice.model.backend == "cuda"
    assert choice.passed_over[0].startswith("tensorrt: no plan fits (trt.plan: ")
    assert why in choice.passed_over[0]
    with pytest.raises(PackageError, match=f"{why}.*tsn-build plan {FOLDER} --backend tensorrt"):
        chosen(FULL, *artifacts, backend="tensorrt")


def test_a_library_that_does_not_state_its_version_is_left_to_the_executor():
    silent = replace(FULL, libraries={**FULL.libraries, "tensorrt": ""})

    assert file_and_backend(silent, *GRAPHS, plan("trt.plan"))[0] == "trt.plan"


def test_a_backend_whose_library_is_missing_is_refused_with_the_remedy():
    with pytest.raises(SettingsError, match=r"pip install 'tsnd\[openvino\]'"):
        chosen(CPU, backend="openvino")
    with pytest.raises(SettingsError, match="no NvTensorRTRTXExecutionProvider here"):
        chosen(WITH_CUDA, backend="nv-tensorrt-rtx")
    with pytest.raises(
        SettingsError, match=r"pycuda is not installed. pip install 'tsnd\[gpu,tensorrt\]'"
    ):
        no_pycuda = replace(FULL, libraries={"tensorrt": "11.4.0.106"})
        chosen(no_pycuda, *GRAPHS, plan("trt.plan"), backend="tensorrt")


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(SettingsError, match=r"no GPU 3, only 0\. Name those that exist"):
        chosen(FULL, backend="cuda", devices=(0, 3))


def test_a_precision_that_the_package_lacks_is_refused_with_the_command_that_adds_it():
    with pytest.raises(
        PackageError,
        match=f"{FOLDER} has no int8 graph. Add one with tsn-build add {FOLDER} --precision int8 "
        "--calibration VIDEO_OR_FOLDER, or start with another --precision.",
    ):
        chosen(FULL, GRAPHS[0], precision="int8")
    with pytest.raises(PackageError, match=f"add {FOLDER} --precision fp16, or start with"):
        chosen(CPU, GRAPHS[0], precision="fp16")


@pytest.mark.parametrize(
    ("artifacts", "counts"),
    [
        ([graph("a.onnx"), graph("b.onnx", FP32)], "2 serving graphs in 1 precisions"),
        ([plan("trt.plan")], "0 serving graphs in 0 precisions"),
    ],
)
def test_a_package_whose_serving_graphs_are_not_one_per_precision_is_refused(artifacts, counts):
    with pytest.raises(PackageError, match=f"{FOLDER} lists {counts}, expected one in each."):
        chosen(FULL, *artifacts)
