from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsnd_client.detection import (
    Detector,
    Head,
    OnlineDetector,
    OnlineSettings,
    SsnSettings,
    TagSettings,
)
from tsnd_client.errors import DetectionError

LABELS = ("run", "jump")
DETECTOR = Detector(SsnSettings(classes=2), (Head(2), Head(2)), weights=(1, 1.5))
SMALL = OnlineSettings(window_frames=300, hop_frames=60, context_frames=90)


def online(window=SMALL, detector=DETECTOR):
    return OnlineDetector(
        detector, window, video_id="cam", labels=LABELS, frames_per_s=30.0, actionness_modalities=2
    )


def video(frames, seed=0, actions=()):
    """Make what networks say of a video: for each modality its ticks of SSN and of TAG.

    Args:
        actions: First and last frame of spans with actionness; None makes it swing at random.
    """
    rng = np.random.default_rng(seed)
    scores = [rng.normal(size=(-(-(frames - d) // 6), Head(2).width)) for d in (1, 5)]
    actionness = []
    for depth in (1, 5):
        ticks = -(-(frames - depth) // 5)
        action = rng.normal(size=ticks).cumsum()
        if actions:
            action = np.full(ticks, -12.0)
            for first, last in actions:
                action[first // 5 : last // 5] = 12.0
        actionness.append(np.stack([np.zeros(ticks), action], axis=1))
    return scores, actionness


def offline(scores, actionness, frames):
    found = DETECTOR.detect(scores, DETECTOR.propose(actionness, frames), frames)
    return found.to_detections("cam", frames / 30.0, LABELS)


def feed(detector, scores, actionness, sizes):
    """Feed pieces that cover these numbers of frames."""
    updates, frame = [], 0
    for size in sizes:
        pieces = [
            [rows[-(-frame // interval) : -(-(frame + size) // interval)] for rows in modalities]
            for interval, modalities in ((6, scores), (5, actionness))
        ]
        updates.append(detector.feed(*pieces))
        frame += size
    return updates


def finals(updates):
    return [one for update in updates for one in update.final]


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(7, 300),
    seed=st.integers(0, 1000),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=10),
)
def test_a_video_that_the_window_covers_has_the_detections_of_offline(frames, seed, sizes):
    scores, actionness = video(frames, seed)
    detector = online()

    updates = feed(detector, scores, actionness, [*sizes, 300])
    last = detector.finish(frames)

    assert finals(updates) == []
    assert list(last.final) == offline(scores, actionness, frames)
    assert last.provisional == ()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([30, 60, 77, 300, 2000]))
def test_what_is_final_does_not_depend_on_the_pieces_that_are_fed(seed, size):
    scores, actionness = video(1200, seed)
    whole, pieces = online(), online()

    at_once = finals([*feed(whole, scores, actionness, [1200]), whole.finish(1200)])
    in_pieces = finals(
        [*feed(pieces, scores, actionness, [size] * (1200 // size + 1)), pieces.finish(1200)]
    )

    assert at_once == in_pieces
    assert at_once


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_memory_and_latency_stay_within_their_bounds(seed):
    scores, actionness = video(1500, seed)
    detector = online()

    for frame in range(30, 1470, 30):
        (update,) = feed(
            detector,
            [rows[(frame - 30) // 6 :] for rows in scores],
            [rows[(frame - 30) // 5 :] for rows in actionness],
            [30],
        )

        assert detector.buffered_frames <= SMALL.window_frames + 30
        for one in update.final:
            middle = (one.start_s + one.end_s) / 2 * 30.0
            # Fed were 30 frames at once; a tick less would have been soon enough.
            assert frame - middle <= detector.latency_bound_frames + 30


def test_final_detections_of_a_class_do_not_overlap_across_windows():
    scores, actionness = video(3000, seed=3)
    detector = online(detector=replace(DETECTOR, settings=without_regression()))

    found = finals([*feed(detector, scores, actionness, [30] * 100), detector.finish(3000)])

    assert len(found) > 10
    for index, one in enumerate(found):
        for other in found[index + 1 :]:
            if one.label == other.label:
                shared = min(one.end_s, other.end_s) - max(one.start_s, other.start_s)
                union = one.end_s - one.start_s + other.end_s - other.start_s - shared
                assert shared / union <= DETECTOR.settings.nms_threshold + 1e-9


def without_regression():
    return replace(DETECTOR.settings, use_regression=False)


def test_actions_far_apart_are_each_found_once_and_where_they_are():
    spans = [(100, 160), (500, 590), (1000, 1050)]
    scores, actionness = video(1500, actions=spans)
    plain = replace(
        DETECTOR, settings=without_regression(), tag=TagSettings((0.5,), (0.05,), sigma_ticks=0)
    )
    detector = online(detector=plain)

    found = finals([*feed(detector, scores, actionness, [60] * 25), detector.finish(1500)])

    for label in LABELS:
        times = [(one.start_s * 30, one.end_s * 30) for one in found if one.label == label]
        # A tick longer than the action, as in the original, and on the grid of ticks.
        np.testing.assert_allclose(times, [(first, last + 5) for first, last in spans], atol=5)


def test_provisional_detections_are_told_before_they_are_final():
    scores, actionness = video(600, actions=[(60, 120)])
    detector = online()

    updates = feed(detector, scores, actionness, [30] * 20)

    assert updates[0].provisional == ()
    assert any(update.provisional for update in updates[4:10])
    first_final = next(index for index, update in enumerate(updates) if update.final)
    assert first_final == 10  # the first piece beyond a window of 300 frames
    told = {(one.label) for update in updates[:first_final] for one in update.provisional}
    assert {one.label for one in updates[first_final].final} <= told


def test_a_video_of_which_nothing_was_fed_ends_with_nothing():
    update = online().finish()

    assert (update.final, update.provisional) == ((), ())


def test_a_video_with_ticks_of_one_modality_alone_cannot_end():
    detector = online()
    detector.feed([np.zeros((5, 21)), []], [np.zeros((6, 2)), np.zeros((6, 2))])

    with pytest.raises(DetectionError, match="no tick"):
        detector.finish()


def test_a_refused_feed_changes_nothing():
    scores, actionness = video(240)
    detector = online()
    feed(detector, scores, actionness, [120])
    broken = np.full((3, 21), np.nan)

    with pytest.raises(DetectionError, match="is nan"):
        detector.feed([scores[0][20:], broken], [rows[24:] for rows in actionness])
    with pytest.raises(DetectionError, match="got 1 modalities of scores and 2 of actionness"):
        detector.feed([scores[0][20:]], [rows[24:] for rows in actionness])
    with pytest.raises(DetectionError, match=r"\[rows, 21\], got shape \(1, 7\)"):
        detector.feed([np.zeros((1, 7)), []], [[], []])
    detector.feed([rows[20:] for rows in scores], [rows[24:] for rows in actionness])

    assert list(detector.finish(240).final) == offline(scores, actionness, 240)


def test_modalities_that_run_apart_are_refused_before_memory_is():
    detector = online()

    with pytest.raises(DetectionError, match="more than 300 frames ahead of another"):
        detector.feed([np.zeros((200, 21)), []], [[], []])


def test_a_finished_video_takes_no_more():
    detector = online()
    detector.finish()

    with pytest.raises(DetectionError, match="cam is finished"):
        detector.feed([[], []], [[], []])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop_frames": 0}, "hop_frames"),
        ({"context_frames": -30}, "context_frames"),
        ({"refresh_frames": 0}, "refresh_frames"),
        ({"window_frames": 600}, r"context_frames \+ hop_frames = 900"),
    ],
)
def test_windows_that_make_no_sense_are_refused(values, message):
    with pytest.raises(DetectionError, match=message):
        OnlineSettings(**values)


def test_windows_of_broken_ticks_are_refused():
    with pytest.raises(DetectionError, match="hop_frames = 65 must be a multiple of 6 and 5"):
        online(OnlineSettings(window_frames=300, hop_frames=65, context_frames=90))


@pytest.mark.parametrize(
    ("labels", "frames_per_s", "message"),
    [(("run",), 30.0, "1 labels, expected 2"), (LABELS, 0.0, "frames_per_s must be above 0")],
)
def test_a_video_that_cannot_be_described_is_refused(labels, frames_per_s, message):
    with pytest.raises(DetectionError, match=message):
        OnlineDetector(DETECTOR, SMALL, video_id="v", labels=labels, frames_per_s=frames_per_s)


def test_a_detector_s_heads_and_settings_must_fit():
    with pytest.raises(DetectionError, match="at least one modality"):
        Detector(SsnSettings(classes=2), ())
    with pytest.raises(DetectionError, match="weights"):
        Detector(SsnSettings(classes=2), (Head(2), Head(2)), weights=(0, 0))
    with pytest.raises(DetectionError, match="a head has 3 classes"):
        Detector(SsnSettings(classes=2), (Head(3),))
    with pytest.raises(DetectionError, match="outputs of 1 modalities, expected 2"):
        DETECTOR.detect([np.zeros((5, 21))], [[0, 3]], 30)


def test_a_video_without_proposals_has_no_detections():
    scores, _ = video(60)

    assert len(DETECTOR.detect(scores, [], 60)) == 0
    assert len(DETECTOR.propose([np.tile([20.0, 0.0], (12, 1))], 60)) == 0


def test_ticks_may_lie_closer_or_farther_than_in_the_original():
    detector = Detector(
        SsnSettings(classes=2, frame_interval=10), (Head(2),), tag=TagSettings(frame_interval=10)
    )
    running = OnlineDetector(
        detector,
        OnlineSettings(window_frames=100, hop_frames=20, context_frames=20),
        video_id="v",
        labels=LABELS,
        frames_per_s=25.0,
    )
    rng = np.random.default_rng(0)

    update = running.feed(
        [rng.normal(size=(50, 21))], [np.tile([0.0, 9.0], (50, 1)) * rng.normal(size=(50, 1))]
    )

    assert update.final
    assert running.latency_bound_frames == 110
