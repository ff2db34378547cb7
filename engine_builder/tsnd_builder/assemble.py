"""Puts a network description and its weights together into a typed graph.

This is where Caffe's rules about the net as a whole live: which layers are in it, which
blob a name means after in-place layers, and which weights belong to which layer.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsnd.caffe.net_pb2 import LayerParameter, NetParameter
from tsnd_builder.caffe.graph import Array, Graph, Layer, Shape, Value
from tsnd_builder.caffe.phase import layers_under_test
from tsnd_builder.caffe.prototxt import read_prototxt
from tsnd_builder.caffe.weights import Weights, read_weights
from tsnd_builder.errors import GraphError, LayerError, PrototxtError, WeightsError
from tsnd_builder.layers.batch_norm import BNStorage, with_variances
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.layers.spec import LayerSpec

BlobSource = Callable[[LayerSpec, LayerParameter, Sequence[Shape]], tuple[Array, ...]]
"""Gives a layer its weights, from its settings and the shapes of its bottoms."""

BATCH = "N"
"""Name of the batch dimension, which the graph leaves open whatever the prototxt says."""


def load_graph(
    prototxt: Path, weights: Path | None, *, bn_storage: BNStorage = BNStorage.VARIANCE
) -> Graph:
    """Read a Caffe model.

    Args:
        prototxt: The network description.
        weights: The caffemodel; None for a net whose layers need none.
        bn_storage: What the fourth blob of its BN layers holds.

    Returns:
        The net under TEST rules; the fourth blob of a BN layer is its variance.

    Raises:
        BuilderError: When a file cannot be read, or the net and its weights do not fit.
    """
    net = read_prototxt(prototxt, convertible=frozenset(LAYER_SPECS))
    blobs = stored_blobs(read_weights(weights) if weights else None)
    return with_variances(assemble(net, blobs, source=prototxt), bn_storage)


def assemble(net: NetParameter, blobs: BlobSource, *, source: Path) -> Graph:
    """Build the graph of a net.

    Args:
        net: The description.
        blobs: Where its layers get their weights.
        source: Where the description came from, for messages.

    Raises:
        GraphError: When layers, blobs or weights do not fit together.
    """
    with _naming_file(source):
        parameters = list(layers_under_test(net))
    if not parameters:
        raise GraphError(f"{source} has no layers in the TEST phase, so it computes nothing.")
    inputs = _inputs(net, source)
    last_writer = _last_writers(parameters)
    walk = _Walk(
        inputs=frozenset(net.input),
        current={value.name: value for value in inputs},
        last_writer=last_writer,
        names={*net.input, *last_writer},
    )
    for index, layer in enumerate(parameters):
        with _naming_layer(source, layer):
            walk.add(index, layer, blobs)
    return Graph(
        name=net.name,
        source=source,
        inputs=inputs,
        layers=tuple(walk.layers),
        blobs=walk.current,
        outputs=tuple(blob for blob in walk.written if blob not in walk.read),
    )


@dataclass
class _Walk:
    """The state of the walk over a net's layers, in order.

    Attributes:
        inputs: Names of the net's inputs.
        current: What each blob holds so far.
        last_writer: Index of the layer that computes each blob last.
        names: Names that are taken: those of blobs, and of the values so far.
        layers: The layers built so far.
        written: Blobs written by a layer, in the order of their first writing.
        read: Blobs that a layer has read without overwriting them.
        trained: Names of the layers that have weights.
    """

    inputs: frozenset[str]
    current: dict[str, Value]
    last_writer: dict[str, int]
    names: set[str]
    layers: list[Layer] = field(default_factory=list)
    written: dict[str, None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)

    def add(self, index: int, parameters: LayerParameter, source: BlobSource) -> None:
        """Check one layer against what is there, and add it."""
        spec = _spec(parameters)
        spec.check_arity(parameters)
        bottoms = tuple(self._bottom(blob) for blob in parameters.bottom)
        self._check_tops(parameters, spec)
        shapes = [bottom.shape for bottom in bottoms]
        tops = [
            Value(self._value_name(blob, index, parameters.name), tuple(shape))
            for blob, shape in zip(
                parameters.top, spec.infer_shapes(parameters, shapes), strict=True
            )
        ]
        blobs = source(spec, parameters, shapes)
        if blobs:
            self._claim_weights(parameters.name)
        if spec.convert is None:
            tops = list(bottoms)
        else:
            layer = Layer(parameters.name, spec.type, parameters, bottoms, tuple(tops), blobs)
            self.layers.append(layer)
        self.read |= set(parameters.bottom) - set(parameters.top)
        self.written |= dict.fromkeys(parameters.top)
        self.current.update(zip(parameters.top, tops, strict=True))

    def _claim_weights(self, name: str) -> None:
        """Refuse two layers with weights of one name; Caffe would fill only the first."""
        if name in self.trained:
            raise LayerError("another layer with weights has the same name; rename one of them.")
        self.trained.add(name)

    def _bottom(self, blob: str) -> Value:
        if blob not in self.current:
            known = ", ".join(list(self.current)[-5:])
            raise LayerError(
                f"its bottom {blob!r} is neither an input nor the top of an earlier layer "
                f"(the last ones: {known})."
            )
        return self.current[blob]

    def _check_tops(self, parameters: LayerParameter, spec: LayerSpec) -> None:
        """Refuse a top that exists already, unless this layer may overwrite its bottom."""
        for index, top in enumerate(parameters.top):
            if not top:
                raise LayerError("the name of its top is empty.")
            if top not in self.current:
                if list(parameters.top).count(top) > 1:
                    raise LayerError(f"it writes {top!r} twice.")
                continue
            if index >= len(parameters.bottom) or parameters.bottom[index] != top:
                raise LayerError(f"its top {top!r} exists already and is not its bottom.")
            if not spec.in_place:
                raise LayerError(
                    f"a {spec.type} cannot overwrite its own bottom {top!r}; give its top "
                    "another name."
                )
            if top in self.read:
                raise LayerError(
                    f"it overwrites {top!r}, which an earlier layer has read; Caffe refuses that "
                    "as a duplicate blob. Put the in-place layer right behind the blob's producer."
                )

    def _value_name(self, blob: str, index: int, layer: str) -> str:
        """Name a value after its blob if this is the blob's last content, and not an input."""
        if self.last_writer.get(blob) == index and blob not in self.inputs:
            return blob
        name = f"{blob}@{layer}"
        if name in self.names:  # layers without weights may share a name
            name = f"{name}.{index}"
        self.names.add(name)
        return name


def _spec(parameters: LayerParameter) -> LayerSpec:
    if not parameters.name:
        raise LayerError("it has no name, by which its weights could be found.")
    spec = LAYER_SPECS.get(parameters.type)
    if spec is None:
        raise LayerError(
            f"layer type {parameters.type!r} cannot be converted; docs/layers.md lists the types "
            "that can. If the layer serves training only, take it out of the file or give it "
            "include { phase: TRAIN }."
        )
    return spec


def _last_writers(parameters: Sequence[LayerParameter]) -> dict[str, int]:
    """Return, for each blob, the index of the last layer that computes it."""
    writers: dict[str, int] = {}
    for index, layer in enumerate(parameters):
        spec = LAYER_SPECS.get(layer.type)
        for top in layer.top:
            passes_on = spec is not None and spec.convert is None and top in layer.bottom
            if not passes_on:
                writers[top] = index
    return writers


def _inputs(net: NetParameter, source: Path) -> tuple[Value, ...]:
    """Read the declared inputs; their first axis becomes the open batch axis.

    Raises:
        PrototxtError: When names and shapes do not pair up.
    """
    if not net.input:
        raise PrototxtError(
            f"{source} declares no input. A training file reads its own data; give the deploy "
            "file, which begins with input: and input_dim: or input_shape."
        )
    if net.input_shape and net.input_dim:
        raise PrototxtError(f"{source} gives both input_shape and input_dim; keep one of them.")
    if net.input_dim:
        dims = list(net.input_dim)
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
        expected = f"{4 * len(net.input)} input_dim lines, 4 per input, and has {len(dims)}"
        fits = len(dims) == 4 * len(net.input)
    else:
        shapes = [list(shape.dim) for shape in net.input_shape]
        expected = f"an input_shape per input, and has {len(shapes)}"
        fits = len(shapes) == len(net.input)
    if not fits:
        raise PrototxtError(f"{source} names {len(net.input)} input(s); it needs {expected}.")
    if len(set(net.input)) != len(net.input):
        raise PrototxtError(f"{source} names an input twice: {', '.join(net.input)}.")
    for name, dims in zip(net.input, shapes, strict=True):
        if not dims or min(dims) < 1:
            raise PrototxtError(f"{source}: input {name!r} has the shape {dims}; use sizes >= 1.")
    return tuple(
        Value(name, _open_batch(dims)) for name, dims in zip(net.input, shapes, strict=True)
    )


def _open_batch(dims: Sequence[int]) -> Shape:
    return (BATCH, *dims[1:])


def stored_blobs(weights: Weights | None) -> BlobSource:
    """Return a source that finds the weights of each layer in a caffemodel by name.

    Args:
        weights: The caffemodel. Layers in it that the net does not have are ignored, as
            Caffe does. None for no file: then only layers whose untrained state is
            certain get weights.

    Returns:
        The source; it raises a WeightsError when blobs are missing, too many, of another
        shape or not finite.
    """

    def find(
        spec: LayerSpec, parameters: LayerParameter, bottoms: Sequence[Shape]
    ) -> tuple[Array, ...]:
        expected = list(spec.blob_shapes(parameters, bottoms))
        if not expected:
            return ()
        if weights is not None:
            return _stored(weights, parameters.name, expected)
        if spec.initial_blobs is None:
            raise WeightsError(f"it needs weights of shapes {_listed(expected)}; give --weights.")
        return spec.initial_blobs(parameters, bottoms)

    return find


def _stored(weights: Weights, layer: str, expected: Sequence[tuple[int, ...]]) -> tuple[Array, ...]:
    """Find the blobs of one layer and check them against its settings."""
    found = weights.blobs.get(layer, ())
    if not found:
        raise WeightsError(
            f"{weights.path} has no weights for it; expected blobs of shapes {_listed(expected)}. "
            "Weights are matched by layer name: are these the weights of this prototxt?"
        )
    if len(found) != len(expected) or not all(
        blob.fits(shape) for blob, shape in zip(found, expected, strict=True)
    ):
        raise WeightsError(
            f"{weights.path} has blobs of shapes {_listed([blob.shape for blob in found])} for it, "
            f"its settings ask for {_listed(expected)}. Use the prototxt that these weights were "
            "trained with."
        )
    for index, blob in enumerate(found):
        if not np.isfinite(blob.data).all():
            raise WeightsError(
                f"{weights.path} has a value that is not finite in its blob {index}; the file is "
                "damaged or the training diverged."
            )
    return tuple(blob.data.reshape(shape) for blob, shape in zip(found, expected, strict=True))


def _listed(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


@contextmanager
def _naming_file(source: Path) -> Iterator[None]:
    """Put the file's name before the message of an error from within."""
    try:
        yield
    except PrototxtError as err:
        raise PrototxtError(f"{source}: {err}") from err


@contextmanager
def _naming_layer(source: Path, layer: LayerParameter) -> Iterator[None]:
    """Put file and layer before the message of an error from within."""
    try:
        yield
    except GraphError as err:
        raise type(err)(f"{source}, layer {layer.name!r} ({layer.type}): {err}") from err
