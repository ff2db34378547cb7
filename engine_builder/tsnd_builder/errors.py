"""What can go wrong in the builder, each with a message for the person at the keyboard.

    BuilderError
    ├── FileUnreadable      a path that is not a readable file
    ├── PrototxtError       a network description that is not valid
    ├── CaffemodelError     a weight file that is not valid
    ├── GraphError          a network that does not fit together
    │   ├── LayerError      one layer that cannot be converted, or not as it is set
    │   │   └── BatchDependent    one that mixes rows, so only one batch size converts
    │   └── WeightsError    blobs that are missing or do not fit their layer
    ├── SelectionError      a blob, option or value asked for that does not exist here
    ├── ExportError         an ONNX graph that failed its checks
    ├── PackageError        a model package that cannot be written or read
    ├── ArchiveError        a file that is no archive, or one that holds what it should not
    ├── FetchError          a published model that cannot be downloaded, trusted or unpacked
    ├── CalibrationError    a video or image that INT8 calibration cannot use
    ├── PlanError           a TensorRT plan that cannot be built, or not on this machine
    └── OutOfTolerance      a package that does not compute what it should; exits with 1

A message names the file, the layer, what came, what was expected and what to do.
"""

from typing import ClassVar


class BuilderError(Exception):
    """Base of everything the builder reports; the program prints it and exits."""

    exit_status: ClassVar[int] = 2


class FileUnreadable(BuilderError):
    """A path that is missing, a folder, empty or not permitted."""


class PrototxtError(BuilderError):
    """A prototxt that is not valid text format, or sets a field that does not exist."""


class CaffemodelError(BuilderError):
    """A caffemodel that is truncated, or is something else."""


class GraphError(BuilderError):
    """A network whose parts do not fit together."""


class LayerError(GraphError):
    """A layer of an unknown type, or with settings that cannot be converted."""


class BatchDependent(LayerError):
    """A layer that treats the batch as any other axis, so the batch size must be fixed."""


class WeightsError(GraphError):
    """A layer whose blobs are missing, too many or of another shape."""


class SelectionError(BuilderError):
    """An output, modality, label list or size that does not fit the network."""


class ExportError(BuilderError):
    """An ONNX graph that failed the checker or shape inference."""


class PackageError(BuilderError):
    """A model package or repository that cannot be written or read."""


class ArchiveError(BuilderError):
    """A file that is not an archive, is damaged, or holds what no model archive would."""


class FetchError(BuilderError):
    """A published model that cannot be downloaded, trusted or unpacked."""


class CalibrationError(BuilderError):
    """A video, image or folder that calibration cannot read or use."""


class PlanError(BuilderError):
    """A TensorRT plan that cannot be built out of this graph, or not on this machine."""


class OutOfTolerance(BuilderError):
    """A package whose results are too far from their reference."""

    exit_status = 1
