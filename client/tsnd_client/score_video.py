"""What `tsn score` does: decode a video, score its frames, print and keep what comes back.

Needs the extra tsnd[video]; the command imports this file only when it is run.
"""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.client import Client
from tsnd_client.errors import ClientError, InputError, SnippetRejected
from tsnd_client.model_info import Modality, ModelInfo
from tsnd_client.progress import progress_bar
from tsnd_client.report import (
    header_line,
    rejection_line,
    snippet_line,
    speed_line,
    versions_line,
    video_lines,
)
from tsnd_client.results import ScoredSnippet, check_destination, write_results
from tsnd_client.retrying import Retrying
from tsnd_client.score_frames import score_frames
from tsnd_client.sources.video_file import VideoFile, probe
from tsnd_client.urgency import Priority


@dataclass(frozen=True, slots=True)
class Job:
    """What `tsn score` was asked to do.

    Attributes:
        video: The file to score.
        model: Name of the model, or of a two-stream pair.
        target: HOST:PORT of the daemon.
        stride: Every how many frames one is scored.
        top: Classes to print per line.
        max_in_flight: Most snippets sent and not answered.
        priority: Which snippets the daemon runs first.
        patience_s: How long to try on when the daemon answers nothing, seconds.
        out: Where to write results, if anywhere.
        features: Whether a `.jsonl` file holds the features.
        quiet: Whether to print the whole video's result alone.
    """

    video: Path
    model: str
    target: str
    stride: int
    top: int
    max_in_flight: int
    priority: Priority
    patience_s: float
    out: Path | None
    features: bool
    quiet: bool


def run(job: Job) -> int:
    """Do it all; return the exit status.

    Raises:
        ClientError: The input, the daemon or the results file was not usable.
    """
    if job.out:
        check_destination(job.out)
    frames = probe(job.video).frames
    with Client(job.target, max_in_flight=job.max_in_flight) as client:
        model = client.model(job.model, Modality.RGB)
        _require_rgb(model)
        started_s = time.monotonic()
        scored: list[ScoredSnippet] = []
        rejected: list[SnippetRejected] = []
        try:
            _score(job, client, model, frames, scored=scored, rejected=rejected)
        except (ClientError, KeyboardInterrupt):
            _keep_partial(job, model, scored)
            raise
        elapsed_s = time.monotonic() - started_s
    if job.out and scored:
        write_results(job.out, scored, model.labels, with_features=job.features)
    _print_summary(job, model, scored, elapsed_s)
    if len({snippet.version for snippet in scored}) > 1:
        _complain(f"warning: {versions_line(scored)}")
    if rejected:
        _complain(f"error: {rejection_line(rejected, len(scored) + len(rejected))}")
    return 1 if rejected else 0


def _require_rgb(model: ModelInfo) -> None:
    if model.modality is not Modality.RGB:
        raise InputError(
            f"model {model.name!r} takes {model.modality} snippets, but `tsn score` makes rgb "
            "snippets only, one frame each. Send flow stacks with the library: "
            "tsnd_client.Client().score_stream(model, snippets), pixels uint8 "
            f"{list(model.snippet_shape)}."
        )


def _keep_partial(job: Job, model: ModelInfo, scored: Sequence[ScoredSnippet]) -> None:
    """Write what was scored before the end came, under a name that says so."""
    if job.out and scored:
        path = job.out.with_name(f"{job.out.stem}.partial{job.out.suffix}")
        write_results(path, scored, model.labels, with_features=job.features)
        _complain(f"the {len(scored)} snippets scored so far are in {path}")


def _score(
    job: Job,
    client: Client,
    model: ModelInfo,
    total_frames: int | None,
    *,
    scored: list[ScoredSnippet],
    rejected: list[SnippetRejected],
) -> None:
    """Score the video's frames; results are appended as they come."""
    source = VideoFile(job.video)
    total = total_frames and math.ceil(total_frames / job.stride)
    with progress_bar("snippets", total, quiet=job.quiet) as advance:
        _print(job, header_line(model, job.top))
        for result in score_frames(
            client,
            model,
            source.frames(job.stride),
            group_size=_group_size(job),
            priority=job.priority,
            retrying=Retrying(job.patience_s),
            on_wait=_warn_of_wait,
        ):
            advance(1)
            if isinstance(result, SnippetRejected):
                rejected.append(result)
            else:
                scored.append(result)
                _print(job, snippet_line(result, model.labels, job.top))
    broken = source.counters.broken
    if broken:
        reason = source.counters.first_reason
        _complain(f"warning: skipped {broken} broken frames; the first: {reason}")


def _group_size(job: Job) -> int:
    """Half of what may be in flight: one group travels while another is scored."""
    return max(1, job.max_in_flight // 2)


def _warn_of_wait(reason: ClientError, wait_s: float) -> None:
    # That the daemon has no room for the moment is nothing to worry about.
    if not isinstance(reason, SnippetRejected):
        _complain(f"warning: {reason} Trying again in {wait_s:.1f} s.")


def _print_summary(
    job: Job, model: ModelInfo, scored: Sequence[ScoredSnippet], elapsed_s: float
) -> None:
    if scored:
        for line in video_lines(scored, model.labels, job.top):
            print(line)
    print(speed_line(len(scored), elapsed_s))


def _print(job: Job, line: str) -> None:
    if not job.quiet:
        # A pipe should see each line as it comes.
        print(line, flush=True)


def _complain(text: str) -> None:
    print(f"tsn: {text}", file=sys.stderr)
