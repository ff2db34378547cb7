"""Puts a network description and its weights together into a typed graph.

This is where Caffe's rules about the net as a whole live: which layers are in it, and what
a blob's name means after layers that overwrite it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from tsnd.caffe.net_pb2 import LayerParameter, NetParameter
from tsnd_builder.caffe.graph import BATCH, Graph, Layer, Shape, Value
from tsnd_builder.caffe.inputs import INPUT_LAYER, read_inputs
from tsnd_builder.caffe.phase import layers_under_test
from tsnd_builder.caffe.prototxt import read_prototxt
from tsnd_builder.caffe.weights import read_weights
from tsnd_builder.errors import BatchDependent, GraphError, LayerError, PrototxtError
from tsnd_builder.layers.batch_norm import BNStorage, with_variances
from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_builder.layers.spec import LayerSpec
from tsnd_builder.onnx_writer import unique_name
from tsnd_builder.stored_blobs import BlobSource, stored_blobs

_LARGEST_BLOB = 2**31 - 1
CONVERTIBLE = frozenset((*LAYER_SPECS, INPUT_LAYER))


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
    net = read_prototxt(prototxt, convertible=CONVERTIBLE)
    blobs = stored_blobs(read_weights(weights) if weights else None)
    return with_variances(assemble(net, blobs, source=prototxt), bn_storage)


def assemble(net: NetParameter, blobs: BlobSource, *, source: Path) -> Graph:
    """Build the graph of a net.

    Its batch axis is open unless a layer treats the batch as any other axis; then the
    batch size is that of the prototxt.

    Args:
        net: The description.
        blobs: Where its layers get their weights.
        source: Where the description came from, for messages.

    Raises:
        GraphError: When layers, blobs or weights do not fit together.
        PrototxtError: When its phase rules or inputs are not valid.
    """
    with _naming_file(source):
        parameters = list(layers_under_test(net))
    layers = [layer for layer in parameters if layer.type != INPUT_LAYER]
    if not layers:
        raise GraphError(f"{source} has no layers in the TEST phase, so it computes nothing.")
    declared = read_inputs(net, parameters, source)
    try:
        inputs = _with_open_batch(declared)
        walk = _walk(inputs, layers, blobs, source)
    except BatchDependent:
        inputs = [Value(name, dims) for name, dims in declared.items()]
        walk = _walk(inputs, layers, blobs, source)
    named_layers, named_blobs = walk.with_final_names()
    return Graph(
        name=net.name,
        source=source,
        inputs=tuple(inputs),
        layers=named_layers,
        blobs=named_blobs,
        outputs=tuple(blob for blob in walk.written if blob not in walk.read),
    )


def _check_size(blob: str, shape: Shape) -> None:
    """Refuse a blob beyond Caffe's own bound (blob.cpp, Reshape), for a batch of one."""
    if math.prod(dim for dim in shape if isinstance(dim, int)) > _LARGEST_BLOB:
        raise LayerError(f"its top {blob!r} of shape {list(shape)} is larger than Caffe allows.")


def _with_open_batch(declared: Mapping[str, tuple[int, ...]]) -> list[Value]:
    """Open the first axis of the inputs; beside larger ones, a vector has no batch axis."""
    most_axes = max(map(len, declared.values()))
    return [
        Value(name, (BATCH, *dims[1:]) if len(dims) > 1 or most_axes == 1 else dims)
        for name, dims in declared.items()
    ]


def _walk(
    inputs: Sequence[Value], layers: Sequence[LayerParameter], blobs: BlobSource, source: Path
) -> "_Walk":
    current = {value.name: value for value in inputs}
    walk = _Walk(inputs=frozenset(current), current=current)
    for layer in layers:
        with _naming_layer(source, layer):
            walk.add(layer, blobs)
    return walk


@dataclass
class _Walk:
    """The state of the walk over a net's layers, in order.

    Attributes:
        inputs: Names of the inputs, which no other value may have.
        current: What each blob holds so far.
        layers: The layers built so far; their values have provisional names.
        written: Blobs written by a layer, in the order of their first writing.
        read: Blobs that a layer has read without overwriting them.
        trained: Names of the layers that have weights.
        origins: Blob and layer that made each value, by its provisional name.
        memory: Which blobs share memory: the first of them, by blob.
    """

    inputs: frozenset[str]
    current: dict[str, Value]
    layers: list[Layer] = field(default_factory=list)
    written: dict[str, None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    trained: set[str] = field(default_factory=set)
    origins: dict[str, tuple[str, str]] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)

    def add(self, parameters: LayerParameter, source: BlobSource) -> None:
        """Check one layer against what is there, and add it."""
        spec = _spec(parameters)
        spec.check_arity(parameters)
        bottoms = tuple(self._bottom(blob) for blob in parameters.bottom)
        self._check_tops(parameters, spec)
        shapes = [bottom.shape for bottom in bottoms]
        top_shapes = spec.infer_shapes(parameters, shapes)
        for blob, shape in zip(parameters.top, top_shapes, strict=True):
            _check_size(blob, shape)
        blobs = source(spec, parameters, shapes)
        if blobs:
            self._claim_weights(parameters.name)
        if spec.convert is None:
            tops = [bottoms[0]] * len(parameters.top)
        else:
            tops = [
                self._new_value(blob, parameters.name, tuple(shape))
                for blob, shape in zip(parameters.top, top_shapes, strict=True)
            ]
            layer = Layer(parameters.name, spec.type, parameters, bottoms, tuple(tops), blobs)
            self.layers.append(layer)
        self.read |= set(parameters.bottom) - set(parameters.top)
        self.written |= dict.fromkeys(parameters.top)
        self.current.update(zip(parameters.top, tops, strict=True))
        self._follow_memory(parameters, spec)

    def with_final_names(self) -> tuple[tuple[Layer, ...], dict[str, Value]]:
        """Name each value after the blob that holds it in the end, or by its origin."""
        taken = set(self.current)
        names: dict[str, str] = {}
        for blob, value in self.current.items():
            if value.name in self.origins and blob not in self.inputs:
                names.setdefault(value.name, blob)
        for provisional, (blob, layer) in self.origins.items():
            if provisional not in names:
                names[provisional] = unique_name(f"{blob}@{layer}", taken)

        def named(value: Value) -> Value:
            return replace(value, name=names.get(value.name, value.name))

        layers = (
            replace(
                layer,
                bottoms=tuple(map(named, layer.bottoms)),
                tops=tuple(map(named, layer.tops)),
            )
            for layer in self.layers
        )
        return tuple(layers), {blob: named(value) for blob, value in self.current.items()}

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

    def _new_value(self, blob: str, layer: str, shape: Shape) -> Value:
        provisional = f"\0{len(self.origins)}"  # no blob of a file has such a name
        self.origins[provisional] = (blob, layer)
        return Value(provisional, shape)

    def _follow_memory(self, parameters: LayerParameter, spec: LayerSpec) -> None:
        """Do to shared memory what Caffe does: overwriting one blob overwrites its kin.

        Flatten, Reshape and Split give a bottom's memory further names. A layer that then
        runs in place on one name changes all, for every reader that comes later.
        """
        for blob in parameters.top:
            if spec.shares_storage:
                bottom = parameters.bottom[0]
                self.memory[blob] = self.memory.setdefault(bottom, bottom)
            elif blob in parameters.bottom and spec.convert is not None:
                self._write_through(blob, parameters.name)

    def _write_through(self, blob: str, layer: str) -> None:
        written = self.current[blob]
        memory = self.memory.get(blob, blob)
        for kin in [b for b, m in self.memory.items() if m == memory and b != blob]:
            value = self._new_value(kin, layer, self.current[kin].shape)
            copy = LayerParameter(name=f"{layer}/{kin}", type="Reshape")
            self.layers.append(Layer(copy.name, copy.type, copy, (written,), (value,)))
            self.current[kin] = value


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
