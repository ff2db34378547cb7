"""What `tsn flow` does: one video after the other, each with all processes, and what it prints.

Needs the extra tsnd[video]; the command imports this file only when it is run.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tsnd_client.errors import ClientError, FlowFailed
from tsnd_client.flow.algorithms import Algorithm
from tsnd_client.flow.computed import TSN_SIZE
from tsnd_client.flow.extract import Extracted, extract_flow, folders_for
from tsnd_client.flow.workers import FlowPool
from tsnd_client.progress import progress_bar


@dataclass(frozen=True, slots=True)
class Job:
    """What `tsn flow` was asked to do.

    Attributes:
        videos: The files.
        out: The folder that gets a folder of each.
        algorithm: tvl1, dis or farneback.
        workers: How many processes compute; None: one for each processor.
        size: Width and height of the images, pixels; None: TSN's; (0, 0): the videos'.
        bound: The largest displacement to tell apart, pixels.
        json: Whether to print JSON.
        quiet: Whether to show no progress.
    """

    videos: Sequence[Path]
    out: Path
    algorithm: str
    workers: int | None
    size: tuple[int, int] | None
    bound: float
    json: bool
    quiet: bool


def run(job: Job) -> int:
    """Do it all; return the exit status: 1 when some of several videos failed.

    Raises:
        ClientError: The only video failed, or nothing more can be computed.
    """
    folders = folders_for(job.videos, job.out)
    failed = 0
    with FlowPool(Algorithm(job.algorithm), job.workers, job.bound) as pool:
        if pool.algorithm is not Algorithm.TVL1:
            _complain(
                f"warning: TSN's flow networks are trained on tvl1 flow; scores of {job.algorithm} "
                "flow differ. docs/flow.md says how far the two agree."
            )
        for video, folder in folders.items():
            try:
                _run_one(job, video, folder, pool)
            except FlowFailed:
                raise
            except ClientError as err:
                if len(folders) == 1:
                    raise
                failed += 1
                _report_failure(job, video, err)
    if failed:
        _complain(f"error: {failed} of {len(folders)} videos failed; the messages are above")
    return 1 if failed else 0


def _run_one(job: Job, video: Path, folder: Path, pool: FlowPool) -> None:
    size = TSN_SIZE if job.size is None else job.size
    started_s = time.monotonic()
    with progress_bar(f"fields of {video.name}", quiet=job.quiet) as advance:
        done = extract_flow(video, folder, pool, size=size if all(size) else None, advance=advance)
    _report(job, video, done, time.monotonic() - started_s)


def _report(job: Job, video: Path, done: Extracted, elapsed_s: float) -> None:
    if job.json:
        record = {
            "video": str(video),
            "folder": str(done.folder),
            "fields": done.fields,
            "computed": done.computed,
            "broken_frames": done.broken,
            "seconds": round(elapsed_s, 3),
        }
        print(json.dumps(record), flush=True)
        return
    print(
        f"{done.folder}: {done.fields} fields, {done.computed} computed in {elapsed_s:.1f} s",
        flush=True,
    )
    if done.broken:
        _complain(f"warning: {video} has {done.broken} broken frames; neighbours stand in for them")


def _report_failure(job: Job, video: Path, err: ClientError) -> None:
    _complain(f"error: {err}")
    if job.json:
        print(json.dumps({"video": str(video), "error": str(err)}), flush=True)


def _complain(text: str) -> None:
    print(f"tsn: {text}", file=sys.stderr)
