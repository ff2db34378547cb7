"""`tsn`: ask a tsnd daemon for its models, have it score a video, or load it.

Exit status: 0 when all went well, 1 when something failed on the way, 2 for input that
cannot be used, 130 after Ctrl-C, 141 when the reader of our output went away.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from tsnd_client.bench.arguments import add_bench_arguments
from tsnd_client.client import DEFAULT_MAX_IN_FLIGHT, DEFAULT_TARGET, Client
from tsnd_client.errors import ClientError, InputError, ModelNotFound
from tsnd_client.model_info import ModelInfo, ModelSummary
from tsnd_client.report import model_lines, models_record
from tsnd_client.urgency import PRIORITIES, Priority


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tsn` and return its exit status.

    Args:
        argv: Arguments after the program's name; None takes them from the command line.
    """
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except ClientError as err:
        print(f"tsn: error: {err}", file=sys.stderr)
        return 2 if isinstance(err, InputError) else 1
    except KeyboardInterrupt:
        print("tsn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at exit; that must not fail a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as err:  # such as a full disk behind the standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"tsn: error: {err.strerror or err}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="tsn", description="Client of a tsnd daemon.")
    parser.add_argument("--version", action="version", version=f"tsn {version('tsnd')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_models_arguments(
        commands.add_parser("models", help="list the models that the daemon serves")
    )
    _add_score_arguments(
        commands.add_parser(
            "score",
            help="score the frames of a video file",
            description="Score frames of a video file with an rgb model, one snippet per frame.",
        )
    )
    add_bench_arguments(
        commands.add_parser(
            "bench",
            help="load a daemon and say how it bears that",
            description="Load a daemon with snippets of many streams; print latency, throughput "
            "and what was refused. Latency counts from when a snippet was due by schedule.",
        )
    )
    return parser


def run_models(args: argparse.Namespace) -> int:
    """Print the models and pairs that the daemon serves."""
    if args.labels and not args.json:
        raise InputError("--labels goes with --json; the table names no classes.")
    with Client(args.target) as client:
        models, pairs = client.models(), client.pairs()
        if args.json:
            infos = list(_descriptions(client, models))
            record = models_record(args.target, infos, pairs, with_labels=args.labels)
            print(json.dumps(record, indent=2))
        else:
            print(*model_lines(models, pairs), sep="\n")
    return 0


def _descriptions(client: Client, models: Iterable[ModelSummary]) -> Iterator[ModelInfo]:
    """Describe models that were listed, but for those that have gone since."""
    for model in models:
        with contextlib.suppress(ModelNotFound):
            yield client.model(model.name, version=model.version)


def run_score(args: argparse.Namespace) -> int:
    """Score a video and print the result."""
    from tsnd_client import score_video  # noqa: PLC0415 -- needs an extra that may be missing

    names = [field.name for field in dataclasses.fields(score_video.Job)]
    return score_video.run(score_video.Job(**{name: getattr(args, name) for name in names}))


def _add_models_arguments(models: argparse.ArgumentParser) -> None:
    _add_target(models)
    models.add_argument(
        "--json",
        action="store_true",
        help="print JSON with all that a client needs to know of each model, instead of text",
    )
    models.add_argument(
        "--labels", action="store_true", help="with --json: name the classes of each model, too"
    )
    models.set_defaults(run=run_models)


def _add_score_arguments(score: argparse.ArgumentParser) -> None:
    score.add_argument("video", type=Path, metavar="VIDEO", help="video file to score")
    score.add_argument(
        "--model", required=True, metavar="NAME", help="model to score it with, or a pair"
    )
    _add_target(score)
    score.add_argument(
        "--stride",
        type=_positive,
        default=5,
        metavar="FRAMES",
        help="score every how many frames; 1 scores them all (default: %(default)s)",
    )
    score.add_argument(
        "--top",
        type=_positive,
        default=5,
        metavar="CLASSES",
        help="best classes to print per snippet and for the video (default: %(default)s)",
    )
    score.add_argument(
        "--max-in-flight",
        type=_positive,
        default=DEFAULT_MAX_IN_FLIGHT,
        metavar="SNIPPETS",
        help="snippets sent and not answered; more of them let the daemon form larger batches, "
        "fewer take less memory (default: %(default)s)",
    )
    score.add_argument(
        "--priority",
        type=_priority,
        default=Priority.NORMAL,
        metavar="|".join(PRIORITIES),
        help="which snippets the daemon runs first; bulk takes what others leave (default: normal)",
    )
    score.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write every snippet's scores to FILE.jsonl or, with features, to FILE.npz",
    )
    score.add_argument(
        "--features", action="store_true", help="write the features to FILE.jsonl, too"
    )
    score.add_argument(
        "--quiet", action="store_true", help="print the result of the whole video alone"
    )
    score.set_defaults(run=run_score)


def _add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="where the daemon listens (default: %(default)s)",
    )


def _priority(text: str) -> Priority:
    if text not in PRIORITIES:
        raise argparse.ArgumentTypeError(f"expected {' or '.join(PRIORITIES)}, got {text!r}")
    return PRIORITIES[text]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)
