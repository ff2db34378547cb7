"""The commands about Caffe models: convert, fetch, synth; and how others name such a model."""

import argparse
from pathlib import Path

from tsnd_builder import commands
from tsnd_builder.cli import text_to_value
from tsnd_builder.cli.output import Subparsers, to_stderr
from tsnd_builder.fetch import fetch, list_published
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.networks.registry import NETWORKS
from tsnd_builder.serving_graph import Modality


def add_convert(subparsers: Subparsers) -> None:
    """Add `convert`."""
    parser = subparsers.add_parser(
        "convert", help="Caffe model to ONNX: the network alone, float32 in and out"
    )
    add_caffe_files(parser)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="M.onnx", help="file to write"
    )
    parser.add_argument(
        "--outputs",
        default=[],
        type=text_to_value.names,
        metavar="BLOB,BLOB",
        help="Caffe blobs to return (default: the net's outputs)",
    )
    parser.add_argument(
        "--keep-bn",
        action="store_true",
        help="leave batch normalization as nodes of its own instead of folding it",
    )
    parser.set_defaults(
        run=lambda a: commands.convert(
            caffe_files(a), a.output, outputs=a.outputs, keep_bn=a.keep_bn
        )
    )


def add_fetch(subparsers: Subparsers) -> None:
    """Add `fetch`."""
    parser = subparsers.add_parser("fetch", help="download a published Caffe model and check it")
    parser.add_argument(
        "name", nargs="?", metavar="MODEL", help="such as kinetics/bn_inception_rgb"
    )
    parser.add_argument("--list", action="store_true", help="print the published models")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to download to")
    parser.add_argument(
        "--url",
        help="another address: of a folder if it ends with '/', else of the archive or caffemodel",
    )
    parser.add_argument(
        "--sha256", metavar="HEX", help="hash it must have; replaces the one in DIR/fetch.lock"
    )
    parser.set_defaults(run=lambda a: _fetch(a, parser))


def _fetch(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    if arguments.list:
        return list_published()
    if arguments.name is None or arguments.out is None:
        parser.error("give a model and --out DIR, or --list")
    fetched = fetch(
        arguments.name,
        arguments.out,
        url=arguments.url,
        sha256=arguments.sha256,
        report=to_stderr,
    )
    return str(fetched)


def add_synth(subparsers: Subparsers) -> None:
    """Add `synth`."""
    parser = subparsers.add_parser(
        "synth", help="write a Caffe model with random, calibrated weights, to try things out"
    )
    parser.add_argument("network", choices=sorted(NETWORKS), help="architecture")
    add_modality(parser)
    parser.add_argument(
        "--classes",
        type=text_to_value.count,
        default=400,
        help="at most 100000 (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=text_to_value.natural, default=0, help="default: %(default)s"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.set_defaults(
        run=lambda a: commands.synth(
            a.network, a.out, modality=a.modality, classes=a.classes, seed=a.seed
        )
    )


def add_caffe_files(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a Caffe model."""
    parser.add_argument("--prototxt", required=True, type=Path, help="network description")
    parser.add_argument(
        "--weights", type=Path, help="caffemodel; only a net without any needs none"
    )
    parser.add_argument(
        "--bn-storage",
        type=BNStorage,
        choices=list(BNStorage),
        default=BNStorage.VARIANCE,
        help="what the BN layers store: variance (files since 2016-04-27, such as the Kinetics "
        "models), inverse-std (files from the four months before), or auto, which decides only "
        "when the values leave no doubt (default: %(default)s)",
    )


def add_modality(parser: argparse.ArgumentParser) -> None:
    """Add `--modality`."""
    parser.add_argument(
        "--modality", required=True, type=Modality, choices=list(Modality), help="the stream"
    )


def caffe_files(arguments: argparse.Namespace) -> commands.CaffeFiles:
    """Return the Caffe model that was named."""
    return commands.CaffeFiles(arguments.prototxt, arguments.weights, arguments.bn_storage)
