"""The files of a package as its manifest lists them; one for each use."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tsnd.v1 import model_pb2 as pb
from tsnd_builder.caffe.files import sha256

_HASH_IN_NAME = 8


class Precision(StrEnum):
    """Arithmetic of a graph."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


PRECISIONS = {
    Precision.FP32: pb.PRECISION_FP32,
    Precision.FP16: pb.PRECISION_FP16,
    Precision.INT8: pb.PRECISION_INT8,
}


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file that joins a package.

    Attributes:
        description: What the manifest says of it, but for its name, hash and size.
        stem: First part of its name; the name ends in a part of its hash and the suffix, so
            no other version of it is ever overwritten.
        suffix: Last part of its name, with the dot.
        data: Its content.
    """

    description: pb.Artifact
    stem: str
    suffix: str
    data: bytes

    def entry(self) -> pb.Artifact:
        """Return its entry in the manifest."""
        file = f"{self.stem}-{sha256(self.data)[:_HASH_IN_NAME]}{self.suffix}"
        return finished(self.description, file, self.data)


def finished(description: pb.Artifact, file: str, data: bytes) -> pb.Artifact:
    """Return an entry of the manifest with name, hash and size filled in."""
    entry = pb.Artifact()
    entry.CopyFrom(description)
    entry.file, entry.sha256, entry.size_bytes = file, sha256(data), len(data)
    return entry


def join(manifest: pb.ModelManifest, entries: Sequence[pb.Artifact]) -> None:
    """Put entries into a manifest, in place of those of the same use."""
    uses = {_use(entry) for entry in entries}
    kept = [artifact for artifact in manifest.artifacts if _use(artifact) not in uses]
    del manifest.artifacts[:]
    manifest.artifacts.extend([*kept, *entries])


def _use(artifact: pb.Artifact) -> tuple[object, ...]:
    """Return what a package needs no two files for."""
    plan = artifact.plan
    place = (plan.backend, plan.gpu, plan.compute_capability)
    return (artifact.kind, artifact.precision, *place)
