"""Compares the tensors of a loaded graph with those its manifest promises, and fills its input."""

from collections.abc import Mapping, Sequence

import numpy as np

from tsnd_daemon.errors import PackageError
from tsnd_daemon.model_store import Model
from tsnd_daemon.snippets import Pixels, Snippet, Stored

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
            f"{model.path} has inputs {inputs} and outputs {outputs}, its manifest promises "
            f"{taken} and {promised}. Build the package again."
        )


def input_buffer(model: Model, max_batch_size: int) -> Pixels:
    """Return memory for the largest batch: uint8 zeros, one snippet per row."""
    return np.zeros((max_batch_size, *model.manifest.input.shape), np.uint8)


def fill(buffer: Pixels, snippets: Sequence[Snippet]) -> Pixels:
    """Bring the pixels of a batch to the beginning of a buffer.

    Rows of snippets whose pixels do not come have any values; see `Snippet.error`.

    Args:
        buffer: With at least as many rows.
        snippets: One for each row.

    Returns:
        The rows that are the batch: a view.
    """
    batch = buffer[: len(snippets)]
    stored: list[Stored] = []
    for row, snippet in zip(batch, snippets, strict=True):
        pixels = snippet.pixels
        if isinstance(pixels, np.ndarray):
            np.copyto(row, pixels)
        else:
            stored.append(pixels)
            pixels.begin(row)
    for pixels in stored:
        pixels.finish()
    return batch
