import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.sources.videos import picture_of
from tsnd_client.errors import InputError, VideoError
from tsnd_client.images import encode_jpeg
from tsnd_client.sources.base import StoredSource
from tsnd_client.sources.camera import LiveSource
from tsnd_client.sources.folder import FrameFolder
from tsnd_client.sources.open import open_source, open_stored
from tsnd_client.sources.pipe import PipeSource
from tsnd_client.sources.video_file import VideoFile

LIVE = ["rtsp://127.0.0.1/a", "http://127.0.0.1/a.mjpg", "tcp://127.0.0.1:1"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "img_00001.jpg").write_bytes(encode_jpeg(picture_of(1)))
    return tmp_path


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_file_and_a_folder_are_told_apart(folder, video, as_type):
    for name, kind in ((folder, FrameFolder), (video, VideoFile)):
        with open_source(as_type(name)) as source:
            assert type(source) is kind
            assert isinstance(source, StoredSource)
            assert source.name == str(name)


@pytest.mark.parametrize("name", LIVE)
def test_an_address_is_a_live_source(name):
    with open_source(name) as source:
        assert type(source) is LiveSource
        assert source.is_live


def test_a_device_is_a_camera():
    with open_source("/dev/null") as source:
        assert type(source) is LiveSource


@pytest.mark.parametrize("name", ["-", "pipe:", "pipe:64x48"])
def test_a_dash_or_pipe_is_the_standard_input(name):
    with open_source(name, stdin=open(__file__, "rb")) as source:  # noqa: PTH123
        assert type(source) is PipeSource
        source._pipe.close()


@pytest.mark.parametrize("name", [*LIVE, "-", "pipe:64x48", "/dev/null"])
def test_where_frames_are_chosen_among_nothing_live_will_do(name):
    with pytest.raises(InputError, match="gives its frames once"):
        open_stored(name)


def test_a_name_of_nothing_is_an_error_when_frames_are_asked_for(tmp_path):
    for name in (tmp_path / "none.mp4", "a\0b"):
        source = open_source(name)
        with pytest.raises(VideoError, match="there is no file"):
            next(source.frames())


def test_what_describes_frames_and_stacks_loads_no_decoder():
    code = (
        "import sys, tsnd_client.sources.base, tsnd_client.flow.stack, tsnd_client.flow.quantise\n"
        "sys.exit(' '.join({'av', 'cv2'} & sys.modules.keys()))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.strip() == ""


def test_without_pyav_the_extra_is_named():
    code = (
        "import sys; sys.modules['av'] = None\n"
        "from tsnd_client import MissingExtra\n"
        "try:\n    import tsnd_client.sources.open\n"
        "except MissingExtra as err:\n    print(err)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "pip install 'tsnd[video]'" in done.stdout
