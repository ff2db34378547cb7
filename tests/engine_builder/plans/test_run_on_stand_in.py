"""Plans run, and packages with plans are verified, where there is no GPU: on a stand-in.

Polygraphy is the real one, in processes of its own. It shows that frames, profiles, results,
errors and memory are handled right, not what TensorRT makes of a graph: `tests/stand_in_runtime`.
"""

import functools
import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from tests import stand_in_runtime
from tests.builders import max_relative_error, random_bytes, run_onnx
from tests.stub_tensorrt import missing_names, wheel_of
from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact
from tsnd_builder.manifest import read_manifest
from tsnd_builder.package import add_to_package
from tsnd_builder.plans.options import Backend, Profile

PROFILES = (Profile(1, 4, 4), Profile(8, 8, 16))
FRAME = (16, 21, 3)
OUTPUTS = ("scores", "features")
MAX_ERROR = 1e-5
"""Of the largest value: sums in float32, which another batch size may order differently."""

WORKER = """
import gc, pickle, sys
from tensorrt import held
from tsnd_builder.errors import PlanError
from tsnd_builder.plans.run import run_plan
while sys.stdin.buffer.peek(1):
    before = held()
    try:
        answer = run_plan(**pickle.load(sys.stdin.buffer))
    except PlanError as err:
        answer = str(err)
    gc.collect()
    pickle.dump((answer, held() - before), sys.stdout.buffer)
    sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc for stand-ins of CUDA's libraries")
    if importlib.util.find_spec("polygraphy") is None:
        pytest.skip("Polygraphy is not installed")
    return stand_in_runtime.install(tmp_path_factory.mktemp("stand-in"))


@pytest.fixture(scope="module")
def run_plan(environment):
    """Return `run_plan` of a process with the stand-in; errors are returned, as their text.

    Each call must leave nothing on the GPU, and nothing on standard output.
    """
    command = [sys.executable, "-W", "error", "-c", WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as worker:
        to_worker, from_worker = worker.stdin, worker.stdout
        assert to_worker is not None
        assert from_worker is not None

        def call(data: bytes, **arguments: Any) -> Any:
            pickle.dump({"data": data, "backend": Backend.TENSORRT, **arguments}, to_worker)
            to_worker.flush()
            answer, leaked = pickle.load(from_worker)
            assert leaked == 0
            return answer

        yield call


@pytest.fixture(scope="module")
def model(tiny_repository):
    return onnx.load(tiny_repository / "tiny_rgb" / "1" / "model.onnx")


@pytest.fixture
def package(tiny_repository, tmp_path):
    folder = tmp_path / "models" / "tiny_rgb" / "1"
    shutil.copytree(tiny_repository / "tiny_rgb" / "1", folder)
    return folder


def plan_of(model, profiles=PROFILES):
    sizes = [(profile.min, profile.max) for profile in profiles]
    return stand_in_runtime.serialize(model.SerializeToString(), sizes)


def spoilt(model):
    """Return a copy with wrong scores, and the right features."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    (weight,) = [t for t in copy.graph.initializer if t.name == "network/fc-action.weight"]
    wrong = onnx.numpy_helper.to_array(weight) * np.float32(1.1)
    weight.CopyFrom(onnx.numpy_helper.from_array(wrong, weight.name))
    return copy


@pytest.mark.parametrize(
    "profiles",
    [PROFILES, PROFILES[::-1], (Profile(1, 1, 1),), (Profile(3, 3, 3),), (Profile(32, 32, 32),)],
    ids=["both", "swapped", "cut", "cut-and-padded", "padded"],
)
def test_each_profile_gives_what_the_graph_does(run_plan, model, profiles):
    inputs = [random_bytes(count, count, *FRAME) for count in (7, 1, 20)]

    results = run_plan(plan_of(model, profiles), profiles=profiles, inputs=inputs, outputs=OUTPUTS)

    assert len(results) == len(profiles)
    for sets in results:
        for frames, found in zip(inputs, sets, strict=True):
            expected = run_onnx(model, {"snippets": frames})
            for output, rows in zip(OUTPUTS, found, strict=True):
                assert max_relative_error(rows, expected[output]) <= MAX_ERROR


@pytest.mark.parametrize("outputs", [("features",), ("features", "scores")])
def test_outputs_come_by_name_and_in_the_order_asked_for(run_plan, model, outputs):
    frames = random_bytes(1, 3, *FRAME)

    ((found,),) = run_plan(
        plan_of(model, PROFILES[:1]), profiles=PROFILES[:1], inputs=[frames], outputs=outputs
    )

    expected = run_onnx(model, {"snippets": frames})
    for output, rows in zip(outputs, found, strict=True):
        assert max_relative_error(rows, expected[output]) <= MAX_ERROR


def of_two_inputs(model):
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    copy.graph.input.append(onnx.helper.make_tensor_value_info("flow", onnx.TensorProto.UINT8, [1]))
    return copy


@pytest.mark.parametrize(
    ("data", "changes", "error"),
    [
        (
            lambda _: b"an engine of another version",
            {},
            "TensorRT 11.4.0 does not run the plan: magic tag does not match.",
        ),
        (
            plan_of,
            {"profiles": [Profile(1, 5, 5)]},
            "TensorRT 11.4.0 does not run the plan: batch 5 is outside profile 0.",
        ),
        (
            functools.partial(plan_of, profiles=PROFILES[:1]),
            {},
            "TensorRT 11.4.0 does not run the plan: profile 1 is none of the engine's.",
        ),
        (
            plan_of,
            {"inputs": [random_bytes(1, 7, 8, 8, 3)]},
            "TensorRT 11.4.0 does not run the plan: Input tensor: snippets | Received incompatible "
            "shape: (4, 8, 8, 3).",
        ),
        (
            plan_of,
            {"outputs": ["scores", "probabilities"]},
            "the plan takes snippets and gives scores, features; expected one input and the "
            "outputs scores, probabilities.",
        ),
        (
            lambda model: plan_of(of_two_inputs(model)),
            {},
            "the plan takes snippets, flow and gives scores, features; expected one input and the "
            "outputs scores, features.",
        ),
    ],
    ids=["no-engine", "batch", "profile", "frames", "output", "inputs"],
)
def test_a_plan_that_does_not_fit_says_why(run_plan, model, data, changes, error):
    arguments = {
        "profiles": PROFILES,
        "inputs": [random_bytes(1, 7, *FRAME)],
        "outputs": OUTPUTS,
        **changes,
    }

    assert run_plan(data(model), **arguments).startswith(error)


def add_plan(folder, data):
    """Add a plan of the FP32 graph, built for the stand-in, and return its name."""
    (graph,) = [a for a in read_manifest(folder).artifacts if a.file == "model.onnx"]
    plan = pb.Plan(
        backend="tensorrt",
        backend_version=stand_in_runtime.__version__,
        compute_capability=stand_in_runtime.COMPUTE_CAPABILITY,
        source_sha256=graph.sha256,
        profiles=[pb.Profile(min=p.min, opt=p.opt, max=p.max) for p in PROFILES],
    )
    entry = pb.Artifact(kind=pb.ARTIFACT_KIND_PLAN, precision=pb.PRECISION_FP32, plan=plan)
    new = NewArtifact(entry, "model-fp32", ".plan", data)
    add_to_package(folder, [new])
    return new.entry().file


def verify(folder, environment):
    command = [sys.executable, "-W", "error", "-m", "tsnd_builder", "verify", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def findings_of(folder, plan):
    report = json.loads((folder / "parity.json").read_text())
    assert report["not_run"] == []
    return [finding for finding in report["findings"] if finding["artifact"] == plan]


def test_verify_compares_every_profile_of_a_plan_with_fp32(package, model, environment):
    plan = add_plan(package, plan_of(model))

    status, out, err = verify(package, environment)

    findings = findings_of(package, plan)
    against = ["FP32, batches of 1 to 4", "FP32, batches of 8 to 16"]
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if line.startswith(plan)] == [
        f"{plan} against {each}" for each in against
    ]
    assert [f["against"] for f in findings] == [each for each in against for _ in range(6)]
    assert all(f["is_within_tolerance"] for f in findings)
    assert max(f["agreement"]["max_error"] for f in findings) <= MAX_ERROR


def test_verify_notices_a_plan_that_computes_something_else(package, model, environment):
    plan = add_plan(package, plan_of(spoilt(model)))

    status, _, err = verify(package, environment)

    failed = [f["output"] for f in findings_of(package, plan) if not f["is_within_tolerance"]]
    assert status == 1
    assert err.count("OUT OF TOLERANCE") == 6
    assert failed == ["scores"] * 6


def test_verify_says_which_plan_does_not_load_and_what_to_do(package, environment):
    plan = add_plan(package, b"an engine of another version")

    status, out, err = verify(package, environment)

    assert (status, out) == (2, "")
    assert err == (
        f"tsn-build: error: {plan}: TensorRT 11.4.0 does not run the plan: magic tag does not "
        "match. Build it again.\n"
    )


def names_of_stand_in() -> Iterator[str]:
    for name, value in vars(stand_in_runtime).items():
        is_own = isinstance(value, type) and value.__module__ == stand_in_runtime.__name__
        if is_own and not name.startswith("_"):
            yield name
            yield from (f"{name}.{member}" for member in vars(value) if not member.startswith("_"))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc for the empty libraries")
@pytest.mark.parametrize("major", [10, 11])
def test_the_stand_in_has_nothing_that_tensorrt_has_not(major, tmp_path):
    wheel = wheel_of(major)
    if wheel is None:
        pytest.skip(f"no bindings of TensorRT {major} for this Python: make tensorrt-bindings")

    _, missing = missing_names(wheel, names_of_stand_in(), tmp_path)

    assert missing == []
