from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import av
import grpc
import numpy as np
import pytest

from tests.client.toy_daemon import ToyDaemon, score_all
from tsnd.v1.snippets_pb2_grpc import add_SnippetServiceServicer_to_server
from tsnd_client import Modality, ModelInfo, OutputInfo

OUTPUTS = (OutputInfo("scores", "float32", (3,)), OutputInfo("features", "float32", (2,)))


@dataclass(frozen=True)
class Running:
    target: str
    daemon: ToyDaemon


@pytest.fixture
def serve():
    """Start toy daemons: serve(stream_handler) gives one that listens on a free port."""
    servers = []

    def start(stream=score_all) -> Running:
        pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="toy-daemon")
        server = grpc.server(pool)
        daemon = ToyDaemon(stream)
        add_SnippetServiceServicer_to_server(daemon, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append((server, pool))
        return Running(f"127.0.0.1:{port}", daemon)

    yield start
    for server, pool in servers:
        server.stop(grace=0).wait()
        pool.shutdown()


@pytest.fixture
def rgb_model():
    return ModelInfo(
        name="toy-rgb",
        version=3,
        modality=Modality.RGB,
        frame_height=6,
        frame_width=8,
        stack_depth=0,
        crops_per_snippet=10,
        labels=("blue", "green", "red"),
        max_batch_size=8,
        max_group_size=16,
        address="toy-rgb",
        backend="onnxruntime",
        precision="fp32",
        outputs=OUTPUTS,
    )


@pytest.fixture
def flow_model():
    return ModelInfo(
        name="toy-flow",
        version=3,
        modality=Modality.FLOW,
        frame_height=6,
        frame_width=8,
        stack_depth=2,
        crops_per_snippet=10,
        labels=("blue", "green", "red"),
        max_batch_size=8,
        max_group_size=16,
        address="toy-flow",
        backend="onnxruntime",
        precision="fp32",
        outputs=OUTPUTS,
    )


@pytest.fixture
def make_video(tmp_path):
    """Write small videos: frame i of make_video(frames) is grey, of brightness 10 * i."""

    def make(frames=20, name="video.mp4", first_pts=0, options=None):
        path = tmp_path / name
        with av.open(str(path), "w", options=options or {}) as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.bit_rate, stream.codec_context.gop_size = 2_000_000, 1
            for index in range(frames):
                pixels = np.full((48, 64, 3), 10 * index % 256, np.uint8)
                picture = av.VideoFrame.from_ndarray(pixels, format="bgr24")
                picture.pts, picture.time_base = first_pts + index, Fraction(1, 25)
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
        return path

    return make


@pytest.fixture
def video(make_video):
    return make_video()
