import pytest

from tsnd_client import InputError
from tsnd_client.datasets.splits import (
    LabelledVideo,
    Split,
    class_numbers,
    locate,
    read_splits,
)


@pytest.fixture
def write(tmp_path):
    def make(**files):
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text)
        return tmp_path

    return make


def test_ucf101_names_classes_by_folders_and_orders_them_by_its_index(write):
    folder = write(
        testlist01__txt="Bowling/v_Bowling_g01_c01.avi\nArchery/v_Archery_g01_c02.avi\n",
        testlist02__txt="Archery/v_Archery_g02_c01.avi 1\n",
        trainlist01__txt="Archery/v_Archery_g08_c01.avi 1\n",
        classInd__txt="1 Archery\n2 Bowling\n",
    )

    first, second = read_splits(folder)

    assert (first.name, second.name) == ("testlist01", "testlist02")
    assert first.videos == (
        LabelledVideo("Bowling/v_Bowling_g01_c01.avi", "Bowling"),
        LabelledVideo("Archery/v_Archery_g01_c02.avi", "Archery"),
    )
    assert first.classes == ("Archery", "Bowling")
    assert second.videos == (LabelledVideo("Archery/v_Archery_g02_c01.avi", "Archery"),)
    assert read_splits(folder / "testlist01.txt") == [first]


def test_hmdb51_tests_with_what_its_files_mark_by_2(write):
    folder = write(
        wave_test_split1__txt="a#1.avi 1 \nb[2].avi 2 \nc.avi 0 \n",
        brush_hair_test_split1__txt="d.avi 2\n",
        wave_test_split2__txt="a#1.avi 2\n",
        brush_hair_test_split2__txt="d.avi 2\n",
    )

    first, second = read_splits(folder)

    assert first.videos == (
        LabelledVideo("brush_hair/d.avi", "brush_hair"),
        LabelledVideo("wave/b[2].avi", "wave"),
    )
    assert first.classes == ("brush_hair", "wave")
    assert [video.file for video in second.videos] == ["brush_hair/d.avi", "wave/a#1.avi"]


def test_kinetics_names_clips_by_their_span(write):
    folder = write(
        validate__csv="label,youtube_id,time_start,time_end,split\n"
        '"catching, throwing",-3B32lodo2M,59,69,validate\n'
    )

    (split,) = read_splits(folder / "validate.csv")

    label = "catching, throwing"
    assert split.videos == (LabelledVideo(f"{label}/-3B32lodo2M_000059_000069.mp4", label),)


def test_tsns_own_lists_number_classes_from_0(write):
    folder = write(val_rgb_split1__txt="/frames/v 1 164 0\n/frames/w 90 7\n")

    (split,) = read_splits(folder / "val_rgb_split1.txt")

    assert split.videos == (LabelledVideo("/frames/v 1", 0), LabelledVideo("/frames/w", 7))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("empty.txt", b"", "names no video"),
        ("binary.txt", b"\xff\xfe\x00", "expected text in UTF-8"),
        ("other.txt", b"some words\n", "of no known form"),
        ("bad.csv", b"label,youtube_id,time_start\nrun,x,1\n", "line 2 .* is not of Kinetics"),
        ("times.csv", b"label,youtube_id,time_start,time_end\nrun,x,a,b\n", "line 2"),
    ],
)
def test_files_of_no_known_form_are_refused(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InputError, match=complaint):
        read_splits(tmp_path / name)


def test_a_folder_without_splits_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="neither testlist01"):
        read_splits(tmp_path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_splits(tmp_path / "none.txt")


def test_a_class_index_of_another_form_is_refused(write):
    folder = write(testlist01__txt="A/v.avi\n", classInd__txt="A one\n")

    with pytest.raises(InputError, match=r"classInd\.txt is not of UCF101"):
        read_splits(folder)


def split(*labels, classes=()):
    return Split(
        "s", tuple(LabelledVideo(f"{n}", label) for n, label in enumerate(labels)), classes
    )


def test_classes_are_found_by_name_whatever_their_spelling():
    found = class_numbers(split("ApplyEyeMakeup", "YoYo"), ["yo yo", "apply eye makeup"])

    assert found == [1, 0]


def test_classes_of_a_model_with_other_names_are_found_by_the_data_sets_order():
    found = class_numbers(split("Bowling", "Archery", classes=("Archery", "Bowling")), ["0", "1"])

    assert found == [1, 0]


def test_numbers_of_classes_are_taken_as_they_are():
    assert class_numbers(split(1, 0), ["a", "b"]) == [1, 0]


@pytest.mark.parametrize("label", ["Cycling", 2])
def test_a_class_that_the_model_does_not_have_is_refused(label):
    with pytest.raises(InputError, match="is none of the model's"):
        class_numbers(split(label), ["Archery", "Bowling"])


@pytest.mark.parametrize("place", ["A/v.avi", "A/v", "v.avi", "v"])
def test_a_video_is_found_with_its_class_or_without_as_file_or_folder(tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).touch()

    assert locate("A/v.avi", tmp_path) == tmp_path / place


def test_a_video_that_is_nowhere_is_named_where_it_should_be(tmp_path):
    assert locate("A/v.avi", tmp_path) == tmp_path / "A" / "v.avi"
