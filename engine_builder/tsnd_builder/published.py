"""The Caffe models of TSN that were published, and where: data, no logic.

None of the addresses was promised to last, and none came with a hash. What is known of each is
in its `source`; `confirmed` is false where the address follows only from its neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tsnd_builder.serving_graph import Modality

_STORE = "https://yjxiong.blob.core.windows.net"

_TSN_REPOSITORY = "https://raw.githubusercontent.com/yjxiong/temporal-segment-networks"
_TSN_COMMIT = "ec62e8c5180738a8831ffeec9b8353fddec60a42"

# Its buttons name the four models; the addresses behind them are not in its text.
_KINETICS_PAGE = "https://yjxiong.me/others/kinetics_action/ names the model"

MAX_WEIGHTS_BYTES = 512 * 1024**2
"""Five times the largest: Inception V3 has about 25 million float32 parameters."""

MAX_PROTOTXT_BYTES = 4 * 1024**2
"""The deploy files have a few thousand lines, about 0.1 MB."""


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file to download.

    Attributes:
        name: Its name on disk and on mirrors.
        url: Where it was published.
        is_archive: Whether it has to be unpacked.
        max_bytes: More is refused.
        sha256: Lower-case hex, where it is known.
    """

    name: str
    url: str
    is_archive: bool = False
    max_bytes: int = MAX_WEIGHTS_BYTES
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A network with its weights.

    Attributes:
        name: What people ask for, DATASET/MODEL.
        modality: Its stream.
        classes: How many it scores.
        main: The archive that holds everything, or the weights.
        prototxt: The network description, where it is a file of its own.
        confirmed: Whether the address of `main` was seen in use.
        source: Where that address comes from.
    """

    name: str
    modality: Modality
    classes: int
    main: PublishedFile
    prototxt: PublishedFile | None
    confirmed: bool
    source: str

    @property
    def files(self) -> tuple[PublishedFile, ...]:
        """All files to download, the main one first."""
        return (self.main,) if self.prototxt is None else (self.main, self.prototxt)


def _kinetics(network: str, modality: Modality, *, confirmed: bool, source: str) -> PublishedModel:
    archive = f"{network}_kinetics_{modality}_pretrained.zip"
    return PublishedModel(
        name=f"kinetics/{network}_{modality}",
        modality=modality,
        classes=400,
        main=PublishedFile(archive, f"{_STORE}/models/{archive}", is_archive=True),
        prototxt=None,
        confirmed=confirmed,
        source=source,
    )


def _reference(dataset: str, classes: int, split: int, modality: Modality) -> PublishedModel:
    weights = f"{dataset}_split_{split}_tsn_{modality}_reference_bn_inception.caffemodel.v5"
    deploy = f"tsn_bn_inception_{modality}_deploy.prototxt"
    return PublishedModel(
        name=f"{dataset}/bn_inception_{modality}_split_{split}",
        modality=modality,
        classes=classes,
        main=PublishedFile(weights, f"{_STORE}/tsn-reference-models/{weights}"),
        # Both datasets call the file the same, so here it carries the dataset in front.
        prototxt=PublishedFile(
            f"{dataset}_{deploy}",
            f"{_TSN_REPOSITORY}/{_TSN_COMMIT}/models/{dataset}/{deploy}",
            max_bytes=MAX_PROTOTXT_BYTES,
        ),
        confirmed=True,
        # The first version of that script had http://mmlab.siat.ac.cn/tsn_model/, which its
        # authors gave up in 2017 (yjxiong/temporal-segment-networks, threads 145 and 154).
        source="scripts/get_reference_models.sh of TSN, as later copies of it have it",
    )


_MODELS = (
    # Users of the two BN-Inception archives name the folders that came out of them, which carry
    # this name; nobody quotes the address.
    _kinetics("bn_inception", Modality.RGB, confirmed=False, source=_KINETICS_PAGE),
    _kinetics("bn_inception", Modality.FLOW, confirmed=False, source=_KINETICS_PAGE),
    # Users name inception_v3_kinetics_rgb_pretrained.zip, without an address.
    _kinetics("inception_v3", Modality.RGB, confirmed=False, source=_KINETICS_PAGE),
    _kinetics(
        "inception_v3",
        Modality.FLOW,
        confirmed=True,
        source="quoted with the full address in the instructions of two public projects",
    ),
    *(
        _reference(dataset, classes, split, modality)
        for dataset, classes in (("ucf101", 101), ("hmdb51", 51))
        for modality in (Modality.RGB, Modality.FLOW)
        for split in (1, 2, 3)
    ),
)

PUBLISHED: Mapping[str, PublishedModel] = {model.name: model for model in _MODELS}
"""Every published model by name."""
