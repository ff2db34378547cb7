import threading

import numpy as np
import pytest

from tests.client.toy_daemon import bad, good, message, scored
from tsnd_client import Client, DaemonUnavailable, Modality, SnippetRejected, VideoError
from tsnd_client.videos.scoring import score_videos
from tsnd_client.videos.snippet import FailedVideo, Reading, ScoredVideo, Snippet, VideoJob

RGB, FLOW = Modality.RGB, Modality.FLOW
SHAPES = {RGB: (6, 8, 3), FLOW: (4, 6, 8)}


def job(name, ticks, *, breaks_after=None, closed=None):
    """A video whose snippet at tick t is grey, of brightness t."""

    def snippets():
        try:
            wanted = [
                (modality, tick) for modality in ticks for tick in sorted(set(ticks[modality]))
            ]
            for given, (modality, tick) in enumerate(wanted):
                if given == breaks_after:
                    raise VideoError(f"{name} is broken")
                yield Snippet(modality, tick, np.full(SHAPES[modality], tick, np.uint8))
        finally:
            if closed is not None:
                closed.append(name)

    return VideoJob(name, lambda: Reading(99, 25.0, ticks, snippets()))


def plain(client):
    """Streams that do not retry."""
    return lambda model, snippets, _pause: client.score_stream(model, snippets)


@pytest.fixture
def run(serve):
    def start(jobs, modalities=(RGB,), stream=None, **options):
        target = serve(**({"stream": stream} if stream else {})).target
        with Client(target) as client:
            models = {modality: client.model("toy", modality) for modality in modalities}
            yield from score_videos(plain(client), models, jobs, **options)

    return start


def test_every_video_gets_the_results_of_its_own_snippets(run):
    jobs = [job(f"v{n}", {RGB: range(n, n + 40)}) for n in range(1, 20)]

    outcomes = {outcome.name: outcome for outcome in run(jobs, readers=4, snippets_ahead=3)}

    assert sorted(outcomes) == sorted(each.name for each in jobs)
    for n in range(1, 20):
        outputs = outcomes[f"v{n}"].streams[RGB]
        assert outputs.ticks.tolist() == list(range(n, n + 40))
        assert outputs.outputs["features"][:, 0].tolist() == list(range(n, n + 40))
        assert outputs.outputs["scores"].shape == (40, 3)
        assert outputs.versions == (3,)


def test_both_modalities_of_a_video_make_one_outcome(run):
    (outcome,) = run([job("v", {RGB: [1, 5], FLOW: [2]})], modalities=(RGB, FLOW))

    assert outcome.streams[RGB].outputs["features"][:, 0].tolist() == [1, 5]
    assert outcome.streams[FLOW].outputs["features"][:, 0].tolist() == [2]


def test_a_modality_without_snippets_is_absent(run):
    (outcome,) = run([job("v", {RGB: [1], FLOW: []})], modalities=(RGB, FLOW))

    assert list(outcome.streams) == [RGB]


def test_a_tick_that_is_asked_for_repeatedly_is_scored_once(run, serve):
    sent: list[str] = []

    def counting(requests, context):
        for request in requests:
            sent.extend(snippet.id for snippet in request.snippets)
            yield scored(request)

    (outcome,) = run([job("v", {RGB: [1] * 25})], stream=counting)

    assert sent == ["0/1"]
    assert outcome.streams[RGB].outputs["scores"].tolist() == [[1, 1, 1]] * 25


def test_a_video_that_cannot_be_opened_costs_the_others_nothing(run):
    def refuse():
        raise VideoError("no such video")

    outcomes = list(run([job("a", {RGB: [1]}), VideoJob("b", refuse), job("c", {RGB: [1]})]))

    assert {o.name: type(o) for o in outcomes} == {
        "a": ScoredVideo,
        "b": FailedVideo,
        "c": ScoredVideo,
    }


def test_a_video_that_breaks_in_the_middle_fails_once_and_is_closed(run):
    closed: list[str] = []

    (outcome,) = run([job("v", {RGB: range(1, 9)}, breaks_after=5, closed=closed)])

    assert isinstance(outcome, FailedVideo)
    assert str(outcome.error) == "v is broken"
    assert closed == ["v"]


def test_a_video_that_gives_less_than_it_promised_fails(run):
    short = VideoJob("v", lambda: Reading(9, 25.0, {RGB: [1, 2]}, iter([])))

    (outcome,) = run([short])

    assert "0 of 2 snippets" in str(outcome.error)


def test_an_error_of_the_file_system_is_the_videos_own(run):
    def refuse():
        raise PermissionError(13, "Permission denied")

    (outcome,) = run([VideoJob("v", refuse)])

    assert str(outcome.error) == "v cannot be read: Permission denied."


def test_a_rejected_snippet_fails_its_video_alone(run):
    def picky(requests, context):
        for request in requests:
            yield message(*((bad if s.id.startswith("0/") else good)(s) for s in request.snippets))

    jobs = [job("first", {RGB: range(1, 30)}), job("second", {RGB: range(1, 30)})]
    outcomes = {outcome.name: outcome for outcome in run(jobs, stream=picky)}

    assert isinstance(outcomes["first"].error, SnippetRejected)
    assert isinstance(outcomes["second"], ScoredVideo)


def test_no_videos_give_no_outcomes(run):
    assert list(run([])) == []


def test_a_daemon_that_is_gone_ends_the_work_with_its_error(rgb_model):
    with Client("127.0.0.1:1", deadline_s=5) as client:
        jobs = [job(f"v{n}", {RGB: range(1, 50)}) for n in range(5)]
        with pytest.raises(DaemonUnavailable):
            list(score_videos(plain(client), {RGB: rgb_model}, jobs))


def test_an_error_of_ours_in_a_reader_is_raised_and_not_a_videos_failure(run):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(run([VideoJob("v", fail)]))


def test_leaving_ends_a_stream_that_pauses_before_another_try(rgb_model):
    is_pausing = threading.Event()

    def pausing(_model, _snippets, pause):
        is_pausing.set()
        pause(3600)
        yield

    outcomes = score_videos(pausing, {RGB: rgb_model}, broken_after(is_pausing))
    assert isinstance(next(outcomes), FailedVideo)
    outcomes.close()


def broken_after(event):
    """A video that cannot be opened, once something has happened."""

    def refuse():
        assert event.wait(60)
        raise VideoError("no such video")

    yield VideoJob("v", refuse)


def test_leaving_early_ends_every_thread(run):
    outcomes = run((job(f"v{n}", {RGB: range(1, 50)}) for n in range(1000)), readers=3)

    next(outcomes)
    outcomes.close()

    assert not [t for t in threading.enumerate() if t.name.endswith(("(read)", "(score)"))]
