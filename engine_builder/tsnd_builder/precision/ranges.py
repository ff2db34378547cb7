"""Measures how large the values of a graph become."""

from collections.abc import Iterable, Mapping

import onnx
from onnx import helper

from tsnd_builder.inference import Frames, batches, open_session, with_outputs
from tsnd_builder.precision.half import float_values

_BATCH = 4


def largest_values(model: onnx.ModelProto, frames: Iterable[Frames]) -> Mapping[str, float]:
    """Return the largest magnitude of every float value that a node makes.

    Args:
        model: A serving graph in FP32.
        frames: Sets of snippets to run it on.
    """
    floats = float_values(model)
    values = [v for node in model.graph.node for v in node.output if v in floats]
    largest = {value: f"{value}!largest" for value in values}
    copy = with_outputs(model, list(largest.values()))
    for value, name in largest.items():
        copy.graph.node.append(helper.make_node("Abs", [value], [f"{value}!magnitude"]))
        copy.graph.node.append(
            helper.make_node("ReduceMax", [f"{value}!magnitude"], [name], keepdims=0)
        )
    session = open_session(copy)
    (source,) = (i.name for i in session.get_inputs())
    found = dict.fromkeys(values, 0.0)
    for frame_set in frames:
        for batch in batches(frame_set, _BATCH):
            results = session.run(list(largest.values()), {source: batch})
            for value, result in zip(values, results, strict=True):
                found[value] = max(found[value], float(result))
    return found
