import hashlib

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.artifacts import NewArtifact, finished, join

SERVING, PLAN = pb.ARTIFACT_KIND_SERVING_ONNX, pb.ARTIFACT_KIND_PLAN
FP16, INT8 = pb.PRECISION_FP16, pb.PRECISION_INT8


def artifact(file, kind=SERVING, precision=FP16, **plan):
    return pb.Artifact(file=file, kind=kind, precision=precision, plan=pb.Plan(**plan))


@pytest.fixture
def manifest():
    """The manifest of a package as it was before there were precisions."""
    old = pb.Artifact(file="model.onnx", kind=SERVING)
    labels = pb.Artifact(file="labels.txt", kind=pb.ARTIFACT_KIND_LABELS)
    return pb.ModelManifest(artifacts=[old, labels])


def files_of(manifest):
    return [entry.file for entry in manifest.artifacts]


def test_the_name_of_a_new_file_ends_in_a_part_of_its_hash():
    new = NewArtifact(pb.Artifact(kind=SERVING, precision=FP16), "model-fp16", ".onnx", b"graph")

    entry = new.entry()

    digest = hashlib.sha256(b"graph").hexdigest()
    assert entry.file == f"model-fp16-{digest[:8]}.onnx"
    assert (entry.sha256, entry.size_bytes) == (digest, 5)
    assert (entry.kind, entry.precision) == (SERVING, FP16)


def test_a_description_is_not_changed_by_finishing_it():
    description = pb.Artifact(kind=SERVING)

    finished(description, "a", b"a")

    assert description == pb.Artifact(kind=SERVING)


def test_what_is_new_joins_what_is_there(manifest):
    join(manifest, [artifact("half.onnx"), artifact("int8.onnx", precision=INT8)])

    assert files_of(manifest) == ["model.onnx", "labels.txt", "half.onnx", "int8.onnx"]


def test_a_file_of_the_same_use_is_replaced(manifest):
    join(manifest, [artifact("old.onnx"), artifact("int8.onnx", precision=INT8)])

    join(manifest, [artifact("new.onnx")])

    assert files_of(manifest) == ["model.onnx", "labels.txt", "int8.onnx", "new.onnx"]


def test_the_same_file_again_is_listed_once(manifest):
    join(manifest, [artifact("half.onnx")])

    join(manifest, [artifact("half.onnx")])

    assert files_of(manifest) == ["model.onnx", "labels.txt", "half.onnx"]


def test_a_graph_for_tensorrt_stands_beside_that_for_cpus(manifest):
    tensorrt = artifact("t.onnx", kind=pb.ARTIFACT_KIND_TENSORRT_ONNX, precision=INT8)

    for new in (tensorrt, artifact("c.onnx", precision=INT8)):
        join(manifest, [new])

    assert files_of(manifest)[2:] == ["t.onnx", "c.onnx"]


@pytest.mark.parametrize(
    "other",
    [
        {"backend": "tensorrt-rtx", "gpu": "H100", "compute_capability": "9.0"},
        {"backend": "tensorrt", "gpu": "L4", "compute_capability": "9.0"},
        {"backend": "tensorrt", "gpu": "H100", "compute_capability": "8.9"},
    ],
    ids=["backend", "gpu", "capability"],
)
def test_plans_for_other_places_stand_beside_each_other(manifest, other):
    place = {"backend": "tensorrt", "gpu": "H100", "compute_capability": "9.0"}
    join(manifest, [artifact("a.plan", kind=PLAN, **place)])

    join(manifest, [artifact("b.plan", kind=PLAN, **other)])
    join(manifest, [artifact("c.plan", kind=PLAN, **place)])
    assert files_of(manifest)[2:] == ["b.plan", "c.plan"]
