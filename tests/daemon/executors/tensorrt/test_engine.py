from enum import Enum

import pytest

from tsnd.v1 import model_pb2 as pb
from tsnd_daemon.errors import PackageError
from tsnd_daemon.executors.tensorrt.engine import check_engine, read_profiles
from tsnd_daemon.executors.tensorrt.profiles import Profile
from tsnd_daemon.model_store import Model

Mode = Enum("Mode", ["INPUT", "OUTPUT"])
Type = Enum("Type", ["UINT8", "FLOAT", "HALF"])


class FakeEngine:
    """Tensors as (mode, type, shape) by name, and batch sizes of profiles."""

    def __init__(self, tensors, profiles=((1, 8, 8),)):
        self._tensors, self._profiles = tensors, profiles
        self.num_io_tensors, self.num_optimization_profiles = len(tensors), len(profiles)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        return self._tensors[name][0]

    def get_tensor_dtype(self, name):
        return self._tensors[name][1]

    def get_tensor_shape(self, name):
        return self._tensors[name][2]

    def get_tensor_profile_shape(self, name, index):
        return [(size, *self._tensors[name][2][1:]) for size in self._profiles[index]]

    def create_execution_context(self):
        return None


TENSORS = {
    "snippets": (Mode.INPUT, Type.UINT8, (-1, 4, 5, 3)),
    "scores": (Mode.OUTPUT, Type.FLOAT, (-1, 7)),
}


@pytest.fixture
def model(tmp_path):
    manifest = pb.ModelManifest(
        input=pb.TensorSpec(name="snippets", data_type=pb.DATA_TYPE_UINT8, shape=[4, 5, 3]),
        outputs=[pb.TensorSpec(name="scores", data_type=pb.DATA_TYPE_FLOAT32, shape=[7])],
    )
    return Model(manifest, pb.Artifact(), tmp_path / "tiny.plan", "tensorrt")


def test_an_engine_with_the_tensors_of_its_manifest_is_taken(model):
    check_engine(model, FakeEngine(TENSORS))


@pytest.mark.parametrize(
    "changed",
    [
        {"scores": (Mode.OUTPUT, Type.FLOAT, (-1, 8))},
        {"scores": (Mode.OUTPUT, Type.HALF, (-1, 7))},
        {"snippets": (Mode.INPUT, Type.FLOAT, (-1, 4, 5, 3))},
        {"more": (Mode.INPUT, Type.UINT8, (-1, 4))},
        {"more": (Mode.OUTPUT, Type.FLOAT, (-1, 4))},
    ],
)
def test_an_engine_with_other_tensors_is_refused(model, changed):
    with pytest.raises(PackageError, match=r"tiny\.plan has"):
        check_engine(model, FakeEngine(TENSORS | changed))


def test_profiles_are_read_in_their_order():
    engine = FakeEngine(TENSORS, profiles=[(1, 4, 8), (9, 16, 32)])

    assert read_profiles(engine, "snippets") == (Profile(0, 1, 4, 8), Profile(1, 9, 16, 32))
