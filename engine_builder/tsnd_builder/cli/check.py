"""The commands that look at what there is: verify and inspect."""

from pathlib import Path

from tsnd_builder.cli.output import Subparsers
from tsnd_builder.inspect import inspect_path
from tsnd_builder.verify import verify_package


def add_verify(subparsers: Subparsers) -> None:
    """Add `verify`."""
    parser = subparsers.add_parser(
        "verify",
        help="run a package against independent references; writes parity.json, exits with 1 "
        "when it is out of tolerance",
    )
    parser.add_argument("package", type=Path, help="package folder, REPOSITORY/NAME/VERSION")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="IO.npz",
        help="inputs (in/BLOB, or in_u8/BLOB and mean/BLOB) and outputs (out/BLOB) of the network, "
        "computed elsewhere, such as by the original Caffe",
    )
    parser.set_defaults(run=lambda a: verify_package(a.package, a.reference))


def add_inspect(subparsers: Subparsers) -> None:
    """Add `inspect`."""
    parser = subparsers.add_parser("inspect", help="print a package or a Caffe model as a table")
    parser.add_argument("path", type=Path, help="package folder, prototxt or caffemodel")
    parser.add_argument("--weights", type=Path, help="caffemodel of a prototxt")
    parser.set_defaults(run=lambda a: inspect_path(a.path, a.weights))
