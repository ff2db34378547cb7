"""The command plan, which builds TensorRT engines."""

import argparse
import sys
from pathlib import Path

from tsnd_builder import commands
from tsnd_builder.artifacts import Precision
from tsnd_builder.cli import text_to_value
from tsnd_builder.cli.output import Subparsers, to_stderr
from tsnd_builder.engines import timing_cache_of
from tsnd_builder.plans.options import Backend, HardwareCompatibility, PlanOptions, profiles_for
from tsnd_builder.plans.progress import progress_bar

_MIB = 1024 * 1024


def add_plan(subparsers: Subparsers) -> None:
    """Add `plan`."""
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
        type=text_to_value.precisions,
        metavar="fp32,fp16,int8",
        help="of the graphs, which must be there: see tsn-build add (default: fp16)",
    )
    batches = parser.add_mutually_exclusive_group()
    batches.add_argument(
        "--max-batch-size",
        type=text_to_value.count,
        default=8,
        metavar="N",
        help="as the daemon's: batches of 1 to N, tuned for N (default: %(default)s)",
    )
    batches.add_argument(
        "--profile",
        action="append",
        type=text_to_value.profile,
        metavar="MIN,OPT,MAX",
        help="another optimization profile; may be given several times",
    )
    parser.add_argument(
        "--workspace",
        type=text_to_value.count,
        metavar="MIB",
        help="most scratch memory (default: all)",
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
            report=to_stderr,
            progress=progress,
        )
