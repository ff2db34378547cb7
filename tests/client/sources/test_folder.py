import cv2
import numpy as np
import pytest

from tests.client.sources.videos import picture_of
from tsnd_client.errors import VideoError
from tsnd_client.images import encode_jpeg
from tsnd_client.sources.base import StoredSource
from tsnd_client.sources.folder import FlowFolder, FrameFolder


def level_of(kind, number):
    return {"flow_x": 100, "flow_y": 200}[kind] + number


def write(folder, kinds=("img", "flow_x", "flow_y"), numbers=range(1, 6), digits=5):
    folder.mkdir(exist_ok=True)
    for kind in kinds:
        for number in numbers:
            pixels = (
                picture_of(number)
                if kind == "img"
                else np.full((48, 64), level_of(kind, number), np.uint8)
            )
            (folder / f"{kind}_{number:0{digits}d}.jpg").write_bytes(encode_jpeg(pixels))
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "clip")


def test_image_j_is_frame_j(folder):
    source = FrameFolder(folder)

    frames = list(source.frames_at([2, 2, 5]))

    assert isinstance(source, StoredSource)
    assert source.indices == range(1, 6)
    assert [frame.index for frame in frames] == [2, 2, 5]
    assert frames[2].time_s == 5 / 25
    stored = cv2.imread(str(folder / "img_00005.jpg"))
    np.testing.assert_array_equal(frames[2].bgr, stored)


def test_frames_come_in_order_at_every_stride(folder):
    assert [frame.index for frame in FrameFolder(folder).frames()] == [1, 2, 3, 4, 5]
    assert [frame.index for frame in FrameFolder(folder).frames(stride=2)] == [2, 4]


def test_flow_j_leads_to_frame_j(folder):
    source = FlowFolder(folder)

    (field,) = source.fields_at([3])

    assert source.indices == range(1, 6)
    assert (field.index, field.planes.shape) == (3, (2, 48, 64))
    assert field.planes[:, 0, 0].tolist() == [103, 203]


def test_denseflow_counts_from_0_and_its_flow_leads_away(tmp_path):
    folder = write(tmp_path / "clip", kinds=["img"], numbers=range(6))
    write(folder, kinds=["flow_x", "flow_y"], numbers=range(5))

    frames, flow = FrameFolder(folder), FlowFolder(folder)

    assert frames.indices == range(6)
    assert flow.indices == range(1, 6)
    (field,) = flow.fields_at([1])
    assert field.planes[:, 0, 0].tolist() == [100, 200]  # its image 0


def test_numbers_may_have_any_number_of_digits(tmp_path):
    folder = write(tmp_path / "clip", numbers=range(1, 13), digits=1)

    assert [frame.index for frame in FrameFolder(folder).frames()] == list(range(1, 13))


def test_other_files_do_not_disturb(folder):
    for name in ("notes.txt", "img_.jpg", ".img_00009.jpg.1.partial", "flow_x_00001_p2.jpg"):
        (folder / name).write_text("x")

    assert FrameFolder(folder).indices == range(1, 6)
    assert FlowFolder(folder).indices == range(1, 6)


@pytest.mark.parametrize("kind", ["img", "flow_x"])
def test_a_gap_in_the_numbers_is_an_error(folder, kind):
    (folder / f"{kind}_00003.jpg").unlink()
    if kind == "flow_x":
        (folder / "flow_y_00003.jpg").unlink()

    with pytest.raises(VideoError, match=f"lacks {kind} image 3 of its 4 up to 5"):
        FrameFolder(folder) if kind == "img" else FlowFolder(folder)


def test_counts_of_x_and_y_that_differ_are_an_error(folder):
    (folder / "flow_y_00005.jpg").unlink()

    with pytest.raises(VideoError, match="has 5 flow_x and 4 flow_y images"):
        FlowFolder(folder)


def test_x_and_y_of_other_numbers_are_an_error(folder):
    (folder / "flow_y_00005.jpg").rename(folder / "flow_y_00006.jpg")

    with pytest.raises(VideoError, match="lacks flow_y image 5"):
        FlowFolder(folder)


def test_a_folder_of_flow_alone_has_no_frames_and_the_other_way_round(tmp_path):
    flow = write(tmp_path / "flow", kinds=["flow_x", "flow_y"])
    frames = write(tmp_path / "frames", kinds=["img"])

    with pytest.raises(VideoError, match=r"has flow images, but no img_\*\.jpg"):
        FrameFolder(flow)
    with pytest.raises(VideoError, match=r"has no flow_x_\*\.jpg .*`tsn flow VIDEO`"):
        FlowFolder(frames)


@pytest.mark.parametrize("open_folder", [FrameFolder, FlowFolder])
def test_a_folder_without_images_is_an_error(tmp_path, open_folder):
    with pytest.raises(VideoError, match="holds none of img_"):
        open_folder(tmp_path)


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path):
    with pytest.raises(VideoError, match="nowhere cannot be listed: No such file"):
        FrameFolder(tmp_path / "nowhere")


def test_images_of_different_sizes_are_an_error(folder):
    (folder / "img_00004.jpg").write_bytes(encode_jpeg(picture_of(1, 32, 24)))
    (folder / "flow_y_00002.jpg").write_bytes(encode_jpeg(np.zeros((24, 32), np.uint8)))

    with pytest.raises(VideoError, match="img image 4 has 32 x 24 pixels, those before it 64 x 48"):
        list(FrameFolder(folder).frames())
    with pytest.raises(VideoError, match="flow_y image 2 has 32 x 24 pixels"):
        list(FlowFolder(folder).fields_at([1, 2]))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_jpeg_is_an_error(folder, content):
    (folder / "img_00002.jpg").write_bytes(content)

    with pytest.raises(VideoError, match=r"img_00002\.jpg is not a JPEG"):
        list(FrameFolder(folder).frames())


def test_a_jpeg_that_is_cut_short_is_an_error(folder):
    path = folder / "flow_x_00002.jpg"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(VideoError, match=r"flow_x_00002\.jpg is damaged or cut short"):
        list(FlowFolder(folder).fields_at([1, 2]))


def test_an_image_that_is_a_folder_is_an_error(folder):
    (folder / "img_00002.jpg").unlink()
    (folder / "img_00002.jpg").mkdir()

    with pytest.raises(VideoError, match=r"img_00002\.jpg cannot be read: Is a directory"):
        list(FrameFolder(folder).frames())
