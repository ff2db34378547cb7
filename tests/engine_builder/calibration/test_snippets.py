from dataclasses import dataclass, field

import numpy as np
import pytest

from tsnd_builder.calibration.snippets import SnippetSpec, read_snippets
from tsnd_builder.serving_graph import Modality

RGB = SnippetSpec(Modality.RGB, frame_height=2, frame_width=3, stack_depth=0)
FLOW = SnippetSpec(Modality.FLOW, frame_height=2, frame_width=3, stack_depth=3)


@dataclass
class CountingVideo:
    """Image j is all j; flow field j has x = j and y = j + 100."""

    spec: SnippetSpec
    length: int = 200
    asked: list[int] = field(default_factory=list)
    is_closed: bool = False

    def count(self):
        return self.length

    def read(self, indices):
        try:
            for index in indices:
                self.asked.append(index)
                if self.spec.modality is Modality.RGB:
                    yield np.full((2, 3, 3), index, np.uint8)
                else:
                    yield np.stack([np.full((2, 3), index + y, np.uint8) for y in (0, 100)])
        finally:
            self.is_closed = True


def planes_of(snippets):
    return [snippet[:, 0, 0].tolist() for snippet in snippets]


@pytest.mark.parametrize(("spec", "shape"), [(RGB, (2, 3, 3)), (FLOW, (6, 2, 3))])
def test_snippets_have_the_shape_that_a_model_takes(spec, shape):
    (snippet,) = read_snippets(CountingVideo(spec), [1], count=200, spec=spec)

    assert spec.shape == snippet.shape == shape


def test_an_rgb_snippet_is_one_image():
    video = CountingVideo(RGB)

    snippets = list(read_snippets(video, [1, 7, 13], count=200, spec=RGB))

    assert [int(snippet.max()) for snippet in snippets] == [1, 7, 13]
    assert video.asked == [1, 7, 13]


def test_a_flow_snippet_is_a_stack_of_x_and_y_in_turn():
    snippets = read_snippets(CountingVideo(FLOW), [1, 10], count=200, spec=FLOW)

    assert planes_of(snippets) == [[1, 101, 2, 102, 3, 103], [10, 110, 11, 111, 12, 112]]


def test_stacks_that_overlap_share_their_fields():
    video = CountingVideo(FLOW)

    snippets = planes_of(read_snippets(video, [1, 2, 4], count=200, spec=FLOW))

    assert video.asked == [1, 2, 3, 4, 5, 6]
    assert [planes[0::2] for planes in snippets] == [[1, 2, 3], [2, 3, 4], [4, 5, 6]]


def test_a_stack_past_the_end_repeats_the_last_field():
    video = CountingVideo(FLOW)

    snippets = planes_of(read_snippets(video, [1], count=2, spec=FLOW))

    assert video.asked == [1, 2]
    assert snippets == [[1, 101, 2, 102, 2, 102]]


def test_a_video_is_closed_when_its_reader_stops():
    video = CountingVideo(FLOW)
    snippets = read_snippets(video, [1, 10], count=200, spec=FLOW)
    next(snippets)

    snippets.close()

    assert video.is_closed
