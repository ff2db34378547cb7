import math
import re
from html.parser import HTMLParser
from pathlib import PurePosixPath

import numpy as np
import pytest

from tests.client.detection.report.builders import HOSTILE, curve, report
from tsnd_client.detection import Detection
from tsnd_client.detection.report import (
    Curve,
    EmbeddedVideo,
    LinkedVideo,
    Report,
    render,
    write_report,
)
from tsnd_client.errors import ReportError


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = [("before", {})]
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags[-1][0] not in ("script", "style"):
            self.text += data

    def all(self, name, css_class=None):
        return [
            attributes
            for tag, attributes in self.tags
            if tag == name
            and (css_class is None or css_class in (attributes.get("class") or "").split())
        ]


def test_every_detection_has_a_bar_and_a_card_with_its_still():
    page = Reader(render(report(stills={0: b"\xff\xd8first", 2: b"\xff\xd8third"})))

    cards = page.all("li")
    assert [card["id"] for card in cards] == ["d0", "d1", "d2"]
    assert [card["data-start"] for card in cards] == ["1.000", "2.000", "5.000"]
    assert [bar["href"] for bar in page.all("a", "bar")] == ["#d0", "#d1", "#d2"]
    assert [image["src"] for image in page.all("img")] == [
        "data:image/jpeg;base64,/9hmaXJzdA==",
        "data:image/jpeg;base64,/9h0aGlyZA==",
    ]
    assert "3 detections of 2 classes in 0:08" in page.text


def test_bars_stand_where_their_time_is():
    page = Reader(render(report()))

    rects = [(rect["x"], rect["width"]) for rect in page.all("rect")]
    assert rects == [("12.500%", "25.000%"), ("25.000%", "25.000%"), ("62.500%", "25.000%")]
    y = [int(rect["y"]) for rect in page.all("rect")]
    assert y[0] < y[1] < y[2]  # the first two overlap


def test_a_detection_beyond_the_video_is_drawn_inside():
    page = Reader(render(report(found=[Detection("clip", -1.0, 99.0, "Dive", 1.0)])))

    assert [(rect["x"], rect["width"]) for rect in page.all("rect")] == [("0.000%", "100.000%")]


def test_a_class_shares_its_lane_with_its_curve_and_other_curves_come_first():
    page = Reader(render(report(curves=(curve("GolfSwing"), curve("actionness")))))

    lanes = [group["data-label"] for group in page.all("g")]
    assert lanes == ["actionness", "GolfSwing", "High & Jump"]
    names = [svg.get("aria-label") for svg in page.all("svg")]
    assert names == ["Timeline of 0:08", "actionness over time", "GolfSwing over time"]


def test_text_from_outside_is_text_wherever_it_stands():
    hostile = [Detection(HOSTILE, 1.0, 2.0, HOSTILE, 1.0)]
    page = Reader(render(report(title=HOSTILE, found=hostile, curves=(curve(HOSTILE),))))

    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert page.text.count(HOSTILE) == 6  # title, heading, chip, lane, bar, card
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_names_nothing_to_load():
    html = render(report(curves=(curve(),)))

    assert re.findall(r"https?:|//[a-z]|@import|url\(", html) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]


def test_a_video_is_inside_or_linked_by_a_path_that_stays_a_path():
    inside = report()
    embedded = Report("t", 1.0, (), video=EmbeddedVideo(b"abc", 'video/webm" onerror="x'))
    linked = Report("t", 1.0, (), video=LinkedVideo(PurePosixPath("javascript:alert(1)/a b?.mp4")))

    assert Reader(render(inside)).all("video") == []
    video = Reader(render(embedded)).all("video")[0]
    assert video["src"] == 'data:video/webm" onerror="x;base64,YWJj'
    assert "onerror" not in video
    video = Reader(render(linked)).all("video")[0]
    assert video["src"] == "./javascript%3Aalert%281%29/a%20b%3F.mp4"


def test_a_video_without_detections_has_a_page():
    page = Reader(render(report(found=[], curves=(curve(),))))

    assert "0 detections of 0 classes" in page.text
    assert page.all("li") == []


def test_equal_and_negative_scores_are_drawn():
    found = [Detection("clip", 1.0, 2.0, "Dive", -3.0)] * 2

    page = Reader(render(report(found=found)))

    assert [rect["fill-opacity"] for rect in page.all("rect")] == ["1.00", "1.00"]


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"found": [Detection("clip", 2.0, 1.0, "Dive", 1.0)]}, r"end after the start"),
        ({"found": [Detection("clip", 1.0, 2.0, "Dive", math.nan)]}, r"score nan"),
        ({"found": [Detection("clip", 1.0, math.inf, "Dive", 1.0)]}, r"end inf"),
    ],
)
def test_detections_that_are_none_are_refused(more, complaint):
    with pytest.raises(ReportError, match=complaint):
        report(**more)


@pytest.mark.parametrize("duration_s", [0.0, -1.0, math.nan, math.inf])
def test_a_video_that_does_not_last_is_refused(duration_s):
    with pytest.raises(ReportError, match="expected the seconds"):
        Report("t", duration_s, ())


@pytest.mark.parametrize(
    ("times", "values", "complaint"),
    [
        ([0.0, 1.0], [0.5], r"as many times as values"),
        ([0.0, math.nan], [0.5, 0.5], r"not a finite number"),
        ([0.0, 1.0], [0.5, math.inf], r"not a finite number"),
        ([1.0, 0.0], [0.5, 0.5], r"expected rising times"),
    ],
)
def test_curves_that_are_none_are_refused(times, values, complaint):
    with pytest.raises(ReportError, match=complaint):
        Curve("actionness", np.array(times), np.array(values))


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "report.html"
    write_report(path, report())
    before = path.read_bytes()

    with pytest.raises(ReportError, match="cannot write"):
        write_report(tmp_path / "none" / "report.html", report())
    write_report(path, report())

    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_text_that_is_no_unicode_can_be_written(tmp_path):
    write_report(tmp_path / "r.html", report(found=[Detection("c", 0.0, 1.0, "\ud800", 1.0)]))

    assert "?" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_two_thousand_detections_make_a_page_within_reason():
    many = [Detection("clip", at / 300, at / 300 + 1, "Dive", at / 2000) for at in range(2000)]

    html = render(report(found=many))

    assert html.count('<li id="d') == 2000
    assert len(html) < 2_000_000
