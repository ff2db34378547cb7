"""Puts the page together. Nothing in it comes from elsewhere: a policy in its head forbids that."""

import base64
import hashlib
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from tsnd_client.atomic import replacing
from tsnd_client.detection.report.layout import clock
from tsnd_client.detection.report.timeline import COLORS, draw_timeline
from tsnd_client.detection.report.values import EmbeddedVideo, LinkedVideo, Report
from tsnd_client.errors import ReportError


def render(report: Report) -> str:
    """Make the page.

    Text from outside is escaped wherever it stands, and no script is made of it. The page loads
    nothing, runs its own script alone, and can be read without it.

    Returns:
        HTML.
    """
    style, script = _asset("page.css"), _asset("page.js")
    return Template(_asset("page.html")).substitute(
        title=escape(report.title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        summary=escape(_summary(report)),
        video="".join(_video(report)),
        legend="".join(_legend(report)),
        timeline=draw_timeline(report),
        cards="".join(_cards(report)),
    )


def write_report(path: Path, report: Report) -> None:
    """Write the page; a file that is there is replaced when the new one is complete.

    Raises:
        ReportError: It could not be written.
    """
    page = render(report).encode("utf-8", "replace")
    try:
        with replacing(path) as file:
            file.write(page)
    except OSError as err:
        raise ReportError(f"cannot write {path}: {err.strerror}.") from err


def _summary(report: Report) -> str:
    count, classes = len(report.detections), len(report.labels())
    found = "1 detection" if count == 1 else f"{count} detections"
    of = "1 class" if classes == 1 else f"{classes} classes"
    return f"{found} of {of} in {clock(report.duration_s)}"


def _video(report: Report) -> Iterator[str]:
    match report.video:
        case EmbeddedVideo(content, media_type):
            source = f"data:{escape(media_type)};base64,{_base64(content)}"
        case LinkedVideo() as linked:
            source = escape(linked.url)
        case None:
            return
    yield (
        f'<div class="player"><video id="video" controls preload="metadata" src="{source}" '
        f'aria-label="{escape(report.title)}"></video>'
        '<p id="unplayable" hidden>This browser cannot play the video.</p></div>'
    )


def _legend(report: Report) -> Iterator[str]:
    for place, label in enumerate(report.labels()):
        yield (
            f'<label class="chip c{place % COLORS}"><input type="checkbox" checked '
            f'data-label="{escape(label)}"><span>{escape(label)}</span></label>'
        )


def _cards(report: Report) -> Iterator[str]:
    color_of = {label: place % COLORS for place, label in enumerate(report.labels())}
    by_time = sorted(range(len(report.detections)), key=lambda at: report.detections[at].start_s)
    for place in by_time:
        found = report.detections[place]
        still = report.stills.get(place)
        picture = (
            f'<img loading="lazy" alt="" src="data:image/jpeg;base64,{_base64(still)}">'
            if still
            else '<span class="no-still"></span>'
        )
        yield (
            f'<li id="d{place}" class="card c{color_of[found.label]}" '
            f'data-label="{escape(found.label)}" data-score="{found.score!r}" '
            f'data-start="{found.start_s:.3f}" data-end="{found.end_s:.3f}">'
            f'<button type="button">{picture}<span class="label">{escape(found.label)}</span>'
            f'<span class="span">{clock(found.start_s, tenths=True)} &ndash; '
            f"{clock(found.end_s, tenths=True)}</span>"
            f'<span class="score">{found.score:.3g}</span></button></li>'
        )


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The name by which a Content-Security-Policy knows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
