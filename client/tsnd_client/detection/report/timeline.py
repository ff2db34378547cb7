"""Draws the timeline as SVG: an axis, a lane for each curve, a lane for each class."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tsnd_client.detection.report.layout import clock, outline, rows, ticks
from tsnd_client.detection.report.values import Curve, Report

COLORS = 8
_AXIS = 26
_NAME = 18
_CURVE = 44
_BAR = 14
_BAR_GAP = 3
_LANE_GAP = 12
_MOST_ROWS = 6


@dataclass(frozen=True, slots=True)
class _Lane:
    name: str
    color: int | None
    curve: Curve | None
    bars: tuple[tuple[int, int], ...]  # place in Report.detections, row

    @property
    def height(self) -> int:
        count = 1 + max((row for _, row in self.bars), default=-1)
        curve = _CURVE if self.curve else 0
        return _NAME + curve + count * (_BAR + _BAR_GAP) + _LANE_GAP


def draw_timeline(report: Report) -> str:
    """Draw it, with links from each bar to the detection's card, `#d` and its place.

    Positions across are percentages, so that it fits any width without a script.
    """
    parts: list[str] = []
    opacities = _opacities(report)
    y = _AXIS
    for lane in _lanes(report):
        parts.extend(_lane(lane, report, opacities, y))
        y += lane.height
    axis = "".join(_axis(report.duration_s, y))
    return (
        f'<svg id="timeline" width="100%" height="{y}" data-duration="{report.duration_s!r}" '
        f'role="group" aria-label="Timeline of {clock(report.duration_s)}">{axis}{"".join(parts)}'
        f'<line id="playhead" x1="0" x2="0" y1="{_AXIS - 6}" y2="{y}"/></svg>'
    )


def _lanes(report: Report) -> Iterator[_Lane]:
    labels = report.labels()
    curves = {curve.name: curve for curve in report.curves}
    for curve in report.curves:
        if curve.name not in labels:
            yield _Lane(curve.name, None, curve, ())
    for color, label in enumerate(labels):
        places = [place for place, found in enumerate(report.detections) if found.label == label]
        places.sort(key=lambda place: report.detections[place].start_s)
        spans = [
            (report.detections[place].start_s, report.detections[place].end_s) for place in places
        ]
        at = [row % _MOST_ROWS for row in rows(spans)]
        bars = tuple(zip(places, at, strict=True))
        yield _Lane(label, color % COLORS, curves.get(label), bars)


def _axis(duration_s: float, height: int) -> Iterator[str]:
    for second in ticks(duration_s):
        x = _percent(second / duration_s)
        # The last label would run over the edge.
        anchor = "start" if second == 0 else "end" if second > 0.96 * duration_s else "middle"
        yield (
            f'<line class="grid" x1="{x}" x2="{x}" y1="{_AXIS - 6}" y2="{height}"/>'
            f'<text class="tick" x="{x}" y="14" text-anchor="{anchor}">'
            f"{clock(second, tenths=second % 1 > 0)}</text>"
        )


def _lane(lane: _Lane, report: Report, opacities: Sequence[float], y: int) -> Iterator[str]:
    color = "plain" if lane.color is None else f"c{lane.color}"
    yield f'<g class="lane {color}" data-label="{escape(lane.name)}">'
    yield f'<text class="name" x="0" y="{y + _NAME - 5}">{escape(lane.name)}</text>'
    y += _NAME
    if lane.curve:
        yield _area(lane.curve, report.duration_s, y)
        y += _CURVE
    for place, row in lane.bars:
        yield _bar(report, place, opacities[place], y + row * (_BAR + _BAR_GAP) + _BAR_GAP)
    yield "</g>"


def _area(curve: Curve, duration_s: float, y: int) -> str:
    points = outline(curve.times_s, curve.values, duration_s)
    if not points:
        return ""
    line = " ".join(f"{1000 * x:.1f},{100 - 100 * value:.1f}" for x, value in points)
    left, right = 1000 * points[0][0], 1000 * points[-1][0]
    return (
        f'<svg y="{y}" width="100%" height="{_CURVE}" viewBox="0 0 1000 100" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(curve.name)} over time">'
        f'<polygon class="area" points="{left:.1f},100 {line} {right:.1f},100"/>'
        f'<polyline class="curve" points="{line}"/></svg>'
    )


def _bar(report: Report, place: int, opacity: float, y: int) -> str:
    found = report.detections[place]
    start = min(max(found.start_s, 0.0), report.duration_s)
    end = min(max(found.end_s, start), report.duration_s)
    said = (
        f"{found.label}, {clock(found.start_s, tenths=True)} to "
        f"{clock(found.end_s, tenths=True)}, score {found.score:.3g}"
    )
    return (
        f'<a class="bar" href="#d{place}" data-start="{start:.3f}" data-end="{end:.3f}" '
        f'data-score="{found.score!r}" aria-label="{escape(said)}"><title>{escape(said)}</title>'
        f'<rect x="{_percent(start / report.duration_s)}" y="{y}" rx="3" height="{_BAR}" '
        f'width="{_percent((end - start) / report.duration_s)}" fill-opacity="{opacity:.2f}"/></a>'
    )


def _opacities(report: Report) -> list[float]:
    """Let the surest detection be opaque, and one of score 0 or the lowest below it faint."""
    scores = [found.score for found in report.detections]
    low, high = min([0.0, *scores]), max(scores, default=0.0)
    span = high - low
    return [0.35 + 0.65 * (score - low) / span if span else 1.0 for score in scores]


def _percent(share: float) -> str:
    return f"{100 * share:.3f}%"
