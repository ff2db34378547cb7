"""Compares the tensors of a loaded graph with those its manifest promises."""

from collections.abc import Mapping, Sequence

from tsnd_daemon.errors import PackageError
from tsnd_daemon.model_store import Model

Shapes = Mapping[str, Sequence[int]]
"""Shape of one row, that is without the batch axis, by tensor name."""


def check_tensors(model: Model, inputs: Shapes, outputs: Shapes) -> None:
    """Refuse a graph with other tensors than its manifest promises.

    Args:
        model: The package.
        inputs: What the graph takes.
        outputs: What it gives; it may give more than promised.

    Raises:
        PackageError: When they differ.
    """
    taken = {model.manifest.input.name: list(model.manifest.input.shape)}
    promised = {o.name: list(o.shape) for o in model.manifest.outputs}
    if inputs != taken or not promised.items() <= outputs.items():
        raise PackageError(
            f"{model.onnx_path} has inputs {inputs} and outputs {outputs}, its manifest promises "
            f"{taken} and {promised}. Build the package again."
        )
