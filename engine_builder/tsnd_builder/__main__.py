"""`tsn-build`: parses the command line and prints results and errors; no logic."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tsnd_builder import commands
from tsnd_builder.artifacts import Precision
from tsnd_builder.engines import timing_cache_of
from tsnd_builder.errors import BuilderError, SelectionError
from tsnd_builder.fetch import fetch, list_published
from tsnd_builder.inspect import inspect_path
from tsnd_builder.layers.batch_norm import BNStorage
from tsnd_builder.lowering import INT8_MAX_DROP
from tsnd_builder.networks.registry import NETWORKS
from tsnd_builder.plans.options import (
    Backend,
    HardwareCompatibility,
    PlanOptions,
    Profile,
    parse_profile,
    profiles_for,
)
from tsnd_builder.plans.progress import progress_bar
from tsnd_builder.precision.int8 import Calibrator, Int8Options
from tsnd_builder.serving_graph import Modality
from tsnd_builder.verify import verify_package

_INTERRUPTED = 130
_MIB = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments; None means those of the process.

    Returns:
        The exit status: 0; 1 when a package is out of tolerance; 2 when an argument or a
        file is not what it should be; 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        print(arguments.run(arguments))
    except BuilderError as err:
        print(f"tsn-build: error: {err}", file=sys.stderr)
        return err.exit_status
    except BrokenPipeError:
        sys.stderr.close()
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tsn-build", description="Turn Caffe models of TSN into ONNX and model packages."
    )
    parser.add_argument("--version", action="version", version=version("tsnd"))
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_convert(commands_)
    _add_build(commands_)
    _add_add(commands_)
    _add_plan(commands_)
    _add_fetch(commands_)
    _add_synth(commands_)
    _add_verify(commands_)
    _add_inspect(commands_)
    return parser


def _add_convert(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "convert", help="Caffe model to ONNX: the network alone, float32 in and out"
    )
    _add_caffe_files(parser)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="M.onnx", help="file to write"
    )
    parser.add_argument(
        "--outputs",
        default=[],
        type=_names,
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
            _caffe_files(a), a.output, outputs=a.outputs, keep_bn=a.keep_bn
        )
    )


def _add_build(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("build", help="Caffe model to a package that tsnd serves")
    _add_caffe_files(parser)
    parser.add_argument("--labels", required=True, type=Path, help="text file, one class per line")
    parser.add_argument("--name", required=True, help="name under which the model is served")
    _add_modality(parser)
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
        type=_size,
        metavar="HxW",
        help="height and width of the frames that clients send (default: 256x340 for a network "
        "of 224, in proportion for others)",
    )
    parser.add_argument(
        "--head",
        action="append",
        default=[],
        type=_head,
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
            _caffe_files(a),
            labels=a.labels,
            name=a.name,
            modality=a.modality,
            crops=a.crops,
            frame_size=a.frame_size,
            repository=a.repository,
            heads=dict(a.head),
            lower=_lower(a),
            report=_to_stderr,
        )
    )


def _add_add(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "add", help="give a package FP16 and INT8 graphs, made from its FP32 graph"
    )
    parser.add_argument("package", type=Path, help="package folder, REPOSITORY/NAME/VERSION")
    _add_lower(parser, required=True)
    parser.set_defaults(run=lambda a: commands.add(a.package, _lower(a), report=_to_stderr))


def _add_plan(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "plan",
        help="build TensorRT engines of a package's graphs",
        description="Build TensorRT engines (plans) of a package's graphs and add them to it. "
        "tensorrt builds for the GPU of this machine; tensorrt-rtx needs none.",
    )
    parser.add_argument("package", type=Path, help="package folder, REPOSITORY/NAME/VERSION")
    parser.add_argument("--backend", required=True, type=Backend, choices=list(Backend))
    parser.add_argument(
        "--precision",
        default=(Precision.FP16,),
        type=_all_precisions,
        metavar="fp32,fp16,int8",
        help="of the graphs, which must be there: see tsn-build add (default: fp16)",
    )
    batches = parser.add_mutually_exclusive_group()
    batches.add_argument(
        "--max-batch-size",
        type=_count,
        default=8,
        metavar="N",
        help="as the daemon's: batches of 1 to N, tuned for N (default: %(default)s)",
    )
    batches.add_argument(
        "--profile",
        action="append",
        type=_profile,
        metavar="MIN,OPT,MAX",
        help="another optimization profile; may be given several times",
    )
    parser.add_argument(
        "--workspace", type=_count, metavar="MIB", help="most scratch memory (default: all)"
    )
    parser.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        help="0 builds fastest, 5 runs fastest (tensorrt; default: its own)",
    )
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="later versions of TensorRT run it too, somewhat slower (tensorrt)",
    )
    parser.add_argument(
        "--hardware-compatibility",
        type=HardwareCompatibility,
        choices=list(HardwareCompatibility),
        default=HardwareCompatibility.NONE,
        help="other GPUs run it too, somewhat slower (tensorrt; default: %(default)s)",
    )
    parser.add_argument(
        "--compute-capability",
        action="append",
        default=[],
        metavar="CC",
        help="a GPU to build for, such as 8.6; may be given several times (tensorrt-rtx; default: "
        "8.0 and later)",
    )
    parser.add_argument(
        "--weight-stripped", action="store_true", help="leave weights out, to be refitted later"
    )
    parser.add_argument("--refittable", action="store_true", help="weights can be replaced later")
    parser.add_argument(
        "--tf32", action="store_true", help="let fp32 round its inputs: faster, less exact"
    )
    parser.set_defaults(run=_plan)


def _plan(arguments: argparse.Namespace) -> str:
    is_rtx = arguments.backend is Backend.TENSORRT_RTX
    options = PlanOptions(
        backend=arguments.backend,
        profiles=tuple(arguments.profile or profiles_for(arguments.max_batch_size)),
        workspace_bytes=arguments.workspace and arguments.workspace * _MIB,
        optimization_level=arguments.optimization_level,
        version_compatible=arguments.version_compatible,
        hardware_compatibility=arguments.hardware_compatibility,
        weight_stripped=arguments.weight_stripped,
        refittable=arguments.refittable,
        tf32=arguments.tf32,
        timing_cache=None if is_rtx else timing_cache_of(arguments.package),
        compute_capabilities=tuple(arguments.compute_capability),
    )
    with progress_bar(sys.stderr) as progress:
        return commands.plan(
            arguments.package,
            arguments.precision,
            options,
            report=_to_stderr,
            progress=progress,
        )


def _add_lower(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options of lower precisions."""
    group = parser.add_argument_group("lower precisions")
    group.add_argument(
        "--precision",
        required=required,
        default=frozenset(),
        type=_precisions,
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
        type=_count,
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
        type=_natural,
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
        type=_share,
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


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def _add_fetch(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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
        report=_to_stderr,
    )
    return str(fetched)


def _add_synth(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser(
        "synth", help="write a Caffe model with random, calibrated weights, to try things out"
    )
    parser.add_argument("network", choices=sorted(NETWORKS), help="architecture")
    _add_modality(parser)
    parser.add_argument(
        "--classes", type=_count, default=400, help="at most 100000 (default: %(default)s)"
    )
    parser.add_argument("--seed", type=_natural, default=0, help="default: %(default)s")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write to")
    parser.set_defaults(
        run=lambda a: commands.synth(
            a.network, a.out, modality=a.modality, classes=a.classes, seed=a.seed
        )
    )


def _add_verify(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
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


def _add_inspect(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("inspect", help="print a package or a Caffe model as a table")
    parser.add_argument("path", type=Path, help="package folder, prototxt or caffemodel")
    parser.add_argument("--weights", type=Path, help="caffemodel of a prototxt")
    parser.set_defaults(run=lambda a: inspect_path(a.path, a.weights))


def _add_caffe_files(parser: argparse.ArgumentParser) -> None:
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


def _add_modality(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--modality", required=True, type=Modality, choices=list(Modality), help="the stream"
    )


def _caffe_files(arguments: argparse.Namespace) -> commands.CaffeFiles:
    return commands.CaffeFiles(arguments.prototxt, arguments.weights, arguments.bn_storage)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _head(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE, such as ssn=heads.npz")
    return name, Path(file)


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not (separator and height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, such as 256x340")
    return int(height), int(width)


def _precisions(text: str) -> frozenset[Precision]:
    try:
        return frozenset(Precision(name) for name in _names(text)) - {Precision.FP32}
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list out of fp16,int8") from err


def _all_precisions(text: str) -> tuple[Precision, ...]:
    named = set(_names(text))
    if not named or not named <= set(Precision):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list out of fp32,fp16,int8")
    return tuple(precision for precision in Precision if precision in named)


def _profile(text: str) -> Profile:
    try:
        return parse_profile(text)
    except SelectionError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100000")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return share


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
