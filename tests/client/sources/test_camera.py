import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import av
import numpy as np
import pytest

from tests.client.sources.videos import picture_of, write_video
from tsnd_client.errors import SourceLost, VideoError
from tsnd_client.images import decode_jpeg, encode_jpeg
from tsnd_client.sources.backoff import FIRST_S, LONGEST_S, backoff_s
from tsnd_client.sources.camera import LiveSource
from tsnd_client.sources.open import open_source

JPEGS = [encode_jpeg(picture_of(index)) for index in range(60)]


class Camera:
    """A server that sends what it is told to each connection in turn, then listens no more."""

    def __init__(self, *connections, hold_open=False):
        self.connections = connections
        self.hold_open = hold_open
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket_address = self.socket.getsockname()
        self.address = f"tcp://127.0.0.1:{self.socket_address[1]}"
        self.thread = threading.Thread(target=self.serve)

    def serve(self):
        for content in self.connections:
            connection, _ = self.socket.accept()
            with connection:
                with suppress(OSError):  # nobody listens any more
                    connection.sendall(content)
                    connection.settimeout(30)
                    if self.hold_open:
                        connection.recv(1)  # until the other side closes
        self.socket.close()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *about):
        self.thread.join(30)
        assert not self.thread.is_alive()


def soon(failures):
    return 0.02


def watch(camera, **settings):
    defaults = {"keep": 100, "backoff": soon, "patience_s": 0.5, "first_patience_s": 5.0}
    return LiveSource(camera.address, format_name="mjpeg", **{**defaults, **settings})


def take(source, stride=1):
    """Take frames until the source is lost."""
    frames = []
    with pytest.raises(SourceLost) as lost:
        for frame in source.frames(stride):
            frames.append(frame)
    return frames, str(lost.value)


def test_a_source_that_goes_away_and_comes_back_goes_on():
    with Camera(b"".join(JPEGS[:5]), b"", b"".join(JPEGS[5:9])) as camera:
        with watch(camera) as source:
            frames, reason = take(source)

    assert [frame.index for frame in frames] == list(range(9))
    for frame in frames:
        expected = decode_jpeg(JPEGS[frame.index], "it")
        inside = slice(8, None, 16), slice(8, None, 16)  # chroma is spread at edges
        assert np.abs(frame.bgr[inside].astype(int) - expected[inside]).max() < 8
    assert source.counters.reconnects >= 2
    assert source.counters.dropped == 0
    assert "gave no frame for" in reason
    assert source.is_live


def test_frames_that_nobody_takes_are_dropped_the_oldest_first():
    with Camera(b"".join(JPEGS)) as camera:
        with watch(camera, keep=3, patience_s=0.1) as source:
            frames = source.frames()
            next(frames)
            source._thread.join(30)
            newest = [frame.index for frame in itertools.islice(frames, 3)]
            with pytest.raises(SourceLost):
                next(frames)

    assert newest == [57, 58, 59]
    assert source.counters.dropped == 60 - 4


def test_frames_are_told_when_they_came():
    before_s = time.monotonic()
    with Camera(b"".join(JPEGS[:9])) as camera:
        with watch(camera) as source:
            frames, _ = take(source)

    times_s = [frame.time_s for frame in frames]
    assert times_s[0] == 0
    assert times_s == sorted(times_s)
    assert before_s < source.started_s < time.monotonic()


def test_with_a_stride_so_many_frames_come_between():
    with Camera(b"".join(JPEGS[:20])) as camera:
        with watch(camera) as source:
            frames, _ = take(source, stride=6)

    assert [frame.index for frame in frames] == [0, 6, 12, 18]


def test_a_connection_that_falls_silent_is_made_anew():
    with Camera(b"".join(JPEGS[:5]), b"".join(JPEGS[5:9]), hold_open=True) as camera:
        with watch(camera, timeout_s=0.5, patience_s=5) as source:
            frames = list(itertools.islice(source.frames(), 8))

    assert [frame.index for frame in frames][:4] == [0, 1, 2, 3]
    assert source.counters.reconnects >= 1


def test_an_address_where_nobody_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    source = LiveSource(address, backoff=soon, first_patience_s=0.2)

    frames, reason = take(source)

    assert frames == []
    assert "Connection refused" in reason
    assert "Is it on, and is the address right?" in reason
    assert source.counters.reconnects == 0


def test_a_stream_is_found_by_its_address_and_its_format_by_its_content(tmp_path):
    video = write_video(tmp_path / "v.ts", frames=40, options={"g": "10", "tune": "zerolatency"})

    with Camera(video.read_bytes()) as camera:
        with open_source(camera.address) as source:
            frame = next(source.frames())

    assert isinstance(source, LiveSource)
    assert frame.bgr.shape == (48, 64, 3)


def test_a_stream_of_sound_alone_is_an_error_at_once(tmp_path):
    path = tmp_path / "sound.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for place in range(90):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts = 44100, 1024 * place
            container.mux(stream.encode(sound))
        container.mux(stream.encode())

    with Camera(path.read_bytes()) as camera:
        source = LiveSource(camera.address, backoff=soon, first_patience_s=5)
        with pytest.raises(VideoError, match="has no video stream, only audio"):
            next(source.frames())


def test_a_stream_that_brings_nothing_that_can_be_decoded_is_given_up():
    huge = bytearray(JPEGS[0])
    header = huge.index(b"\xff\xc0")
    huge[header + 5 : header + 9] = b"\xff\xff\xff\xff"

    with Camera(*[bytes(huge) * 200] * 3) as camera:
        with watch(camera, first_patience_s=0.3) as source:
            frames, reason = take(source)
        for _ in range(3):  # the camera waits for all its visitors
            with suppress(OSError):
                socket.create_connection(camera.socket_address).close()

    assert frames == []
    assert source.counters.broken
    assert "gave no frame" in reason


def test_closing_ends_what_waits_for_a_frame():
    with Camera(JPEGS[0] * 30, hold_open=True) as camera:
        with watch(camera, timeout_s=1.0) as source, ThreadPoolExecutor(1) as thread:
            started = threading.Event()

            def count():
                number = 0
                for _ in source.frames():
                    number += 1
                    started.set()
                return number

            counted = thread.submit(count)
            assert started.wait(20)
            source.close()
            assert counted.result(20) >= 1


def test_a_source_that_was_closed_gives_nothing():
    source = LiveSource("tcp://127.0.0.1:1")
    source.close()

    assert list(source.frames()) == []


def test_waits_double_up_to_a_limit():
    waits = [backoff_s(failures) for failures in (1, 2, 3, 4, 50, 5000)]

    assert waits == [FIRST_S, 1, 2, 4, LONGEST_S, LONGEST_S]
