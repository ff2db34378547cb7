"""The commands that make packages: build, and add, which gives one more precisions."""

import argparse
from pathlib import Path

from tsnd_builder import commands
from tsnd_builder.cli import text_to_value
from tsnd_builder.cli.caffe import add_caffe_files, add_modality, caffe_files
from tsnd_builder.cli.output import Subparsers, to_stderr
from tsnd_builder.lowering import INT8_MAX_DROP
from tsnd_builder.precision.int8 import Calibrator, Int8Options


def add_build(subparsers: Subparsers) -> None:
    """Add `build`."""
    parser = subparsers.add_parser("build", help="Caffe model to a package that tsnd serves")
    add_caffe_files(parser)
    parser.add_argument("--labels", required=True, type=Path, help="text file, one class per line")
    parser.add_argument("--name", required=True, help="name under which the model is served")
    add_modality(parser)
    parser.add_argument(
        "--crops",
        type=int,
        choices=(1, 10),
        default=1,
        help="crops per snippet: 1 (centre, fast) or 10 (TSN's test protocol, ten times the "
        "work) (default: %(default)s)",
    )
    parser.add_argument(
        "--frame-size",
        type=text_to_value.size,
        metavar="HxW",
        help="height and width of the frames that clients send (default: 256x340 for a network "
        "of 224, in proportion for others)",
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        type=text_to_value.head,
        metavar="NAME=FILE.npz",
        help="serve a linear head on the features as output NAME; the file holds weight [out, D] "
        "and bias [out]; may be given several times",
    )
    parser.add_argument(
        "--repository", required=True, type=Path, metavar="DIR", help="model repository of tsnd"
    )
    _add_lower(parser, required=False)
    parser.set_defaults(
        run=lambda a: commands.build(
            caffe_files(a),
            labels=a.labels,
            name=a.name,
            modality=a.modality,
            crops=a.crops,
            frame_size=a.frame_size,
            repository=a.repository,
            heads=dict(a.head),
            lower=_lower(a),
            report=to_stderr,
        )
    )


def add_add(subparsers: Subparsers) -> None:
    """Add `add`."""
    parser = subparsers.add_parser(
        "add", help="give a package FP16 and INT8 graphs, made from its FP32 graph"
    )
    parser.add_argument("package", type=Path, help="package folder, REPOSITORY/NAME/VERSION")
    _add_lower(parser, required=True)
    parser.set_defaults(run=lambda a: commands.add(a.package, _lower(a), report=to_stderr))


def _add_lower(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options of lower precisions."""
    group = parser.add_argument_group("lower precisions")
    group.add_argument(
        "--precision",
        required=required,
        default=frozenset(),
        type=text_to_value.lower_precisions,
        metavar="fp16,int8",
        help="precisions besides fp32, which a package always has",
    )
    group.add_argument(
        "--calibration",
        type=Path,
        metavar="PATH",
        help="for int8: a video, a folder of img_/flow_x_/flow_y_ images, or a folder of such; "
        "videos like those it will score. Half of the snippets calibrate, half measure",
    )
    group.add_argument(
        "--calibration-snippets",
        type=text_to_value.count,
        default=256,
        metavar="N",
        help="most snippets that calibrate (default: %(default)s)",
    )
    group.add_argument(
        "--int8-calibrator",
        type=Calibrator,
        choices=list(Calibrator),
        default=Calibrator.PERCENTILE,
        help="how ranges are chosen (default: %(default)s)",
    )
    group.add_argument(
        "--int8-float-layers",
        type=text_to_value.natural,
        default=0,
        metavar="N",
        help="keep the first N convolutions in float: more accurate, slower (default: %(default)s)",
    )
    group.add_argument(
        "--int8-reduce-range",
        action="store_true",
        help="weights of 7 bits, for CPUs without VNNI, where sums of 8 bits saturate",
    )
    group.add_argument(
        "--int8-max-drop",
        type=text_to_value.share,
        default=INT8_MAX_DROP,
        metavar="SHARE",
        help="write nothing if more of the snippets with a clear first class lose it "
        "(default: %(default)s)",
    )


def _lower(arguments: argparse.Namespace) -> commands.Lower:
    return commands.Lower(
        precisions=arguments.precision,
        calibration=arguments.calibration,
        snippets=arguments.calibration_snippets,
        int8=Int8Options(
            calibrator=arguments.int8_calibrator,
            float_layers=arguments.int8_float_layers,
            reduce_range=arguments.int8_reduce_range,
        ),
        max_drop=arguments.int8_max_drop,
    )
