"""Writes what the snippets of a request got into its response, in the form it asked for."""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tsnd.kserve import inference_pb2 as pb
from tsnd.v1 import model_pb2
from tsnd_daemon.errors import InvalidRequest
from tsnd_daemon.services.kserve.parameters import read_whole
from tsnd_daemon.services.kserve.regions import OFFSET, REGION, SIZE, Place, Regions
from tsnd_daemon.snippets import SCORES, FloatArray, Scores

_SHOWN = 64


@dataclass(frozen=True, slots=True, eq=False)
class OutputForm:
    """How one output is wanted.

    Attributes:
        spec: The output.
        classes: How many of the best classes in place of its values; 0 for the values.
        labels: Names of its classes, when it has any.
        place: Where its values are written, when not into the response.
    """

    spec: model_pb2.TensorSpec
    classes: int = 0
    labels: Sequence[str] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """One output of a response.

    Attributes:
        tensor: What is said of it.
        data: Its elements, little-endian.
        place: Where they are to be written, when not into the response.
    """

    tensor: pb.ModelInferResponse.InferOutputTensor
    data: bytes
    place: Place | None


def read_forms(
    wanted: Sequence[pb.ModelInferRequest.InferRequestedOutputTensor],
    manifest: model_pb2.ModelManifest,
    regions: Regions,
    *,
    rows: int,
    where: str,
) -> list[OutputForm]:
    """Read how the outputs of a request are wanted; none named are all of them.

    Args:
        wanted: The outputs that it names.
        manifest: Of its model.
        regions: Where shared memory is found.
        rows: Its snippets.
        where: What it is, for messages.

    Raises:
        RequestError: When the model has no such output, one is named twice, or it does not
            fit the place that it is to be written to.
    """
    specs = {spec.name: spec for spec in manifest.outputs}
    forms = dict[str, OutputForm]()
    for output in wanted:
        if output.name not in specs or output.name in forms:
            what = "is asked for twice" if output.name in forms else "is not one of the model's"
            raise InvalidRequest(
                f"{where}: output {output.name[:_SHOWN]!r} {what}. Model {manifest.name!r} has "
                f"{', '.join(specs)}: name each once, or none for all."
            )
        spec = specs[output.name]
        labels = manifest.labels if spec.name == SCORES else ()
        forms[spec.name] = _read_form(output, spec, labels, regions, rows=rows, where=where)
    return list(forms.values()) or [OutputForm(spec) for spec in manifest.outputs]


def _read_form(
    output: pb.ModelInferRequest.InferRequestedOutputTensor,
    spec: model_pb2.TensorSpec,
    labels: Sequence[str],
    regions: Regions,
    *,
    rows: int,
    where: str,
) -> OutputForm:
    where = f"{where}: output {spec.name!r}"
    classes = read_whole(output.parameters, "classification", where)
    place = regions.find_place(output.parameters, where)
    if classes and place is not None:
        raise InvalidRequest(
            f"{where}: classifications are not written to shared memory, for nobody knows their "
            "size before. Ask for the values, or for a response in the message."
        )
    needed = rows * _length(spec) * 4
    if place is not None and place.byte_size < needed:
        raise InvalidRequest(
            f"{where}: {rows} rows need {needed} bytes, shared_memory_byte_size is "
            f"{place.byte_size}. Allow more."
        )
    return OutputForm(spec, min(classes, _length(spec)), labels, place)


def write_outputs(forms: Iterable[OutputForm], scores: Sequence[Scores]) -> list[Output]:
    """Write outputs.

    Args:
        forms: How they are wanted.
        scores: What the snippets got, one each.
    """
    return [_write(form, scores) for form in forms]


def to_message(outputs: Sequence[Output]) -> pb.ModelInferResponse:
    """Return a response with some outputs and nothing else."""
    return pb.ModelInferResponse(
        outputs=[output.tensor for output in outputs],
        # An empty entry for one in shared memory: clients count them to find the others.
        raw_output_contents=[b"" if output.place else output.data for output in outputs],
    )


def _write(form: OutputForm, scores: Sequence[Scores]) -> Output:
    name = form.spec.name
    rows = np.stack([each.execution.outputs[name][each.row] for each in scores])
    tensor = pb.ModelInferResponse.InferOutputTensor(name=name)
    if form.classes:
        tensor.datatype, shape = "BYTES", [len(scores), form.classes]
        flat = rows.reshape(len(scores), -1)
        data = b"".join(_classification(row, form) for row in flat)
    else:
        tensor.datatype, shape = "FP32", list(rows.shape)
        data = rows.astype("<f4", copy=False).tobytes()
    tensor.shape.extend(shape)
    if form.place is not None:
        tensor.parameters[REGION].string_param = form.place.name
        tensor.parameters[SIZE].int64_param = len(data)
        tensor.parameters[OFFSET].int64_param = form.place.offset
    return Output(tensor, data, form.place)


def _classification(values: FloatArray, form: OutputForm) -> bytes:
    """Return the best classes as `value:index:label`, each with its length before it.

    Args:
        values: float32 [classes].
        form: How many are wanted, and their labels.
    """
    parts = list[bytes]()
    for index in np.argsort(-values, kind="stable")[: form.classes]:
        text = f"{values[index]:f}:{index}"
        if form.labels:
            text += f":{form.labels[index]}"
        data = text.encode()
        parts += [struct.pack("<I", len(data)), data]
    return b"".join(parts)


def _length(spec: model_pb2.TensorSpec) -> int:
    """Return how many values an output has for one snippet."""
    return int(np.prod(spec.shape))
