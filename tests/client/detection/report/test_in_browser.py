"""The page as a browser shows it, with a mouse and a keyboard."""

import pytest

from tests.browser import browser, find_browser
from tests.client.detection.report.builders import FOUND, HOSTILE, curve, report, write_video
from tsnd_client.detection import Detection
from tsnd_client.detection.report import write_report

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="there is no Chromium: apt install chromium"
)
SHOWN = "[...document.querySelectorAll('.card')].filter(card => !card.hidden)"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.webm")


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.open("about:blank#ready")
        yield page


@pytest.fixture
def show(tab, clip, tmp_path):
    """Open a page of a report: show(**report) gives the tab."""

    def open_page(**more):
        path = tmp_path / "report.html"
        write_report(path, report(**{"video": clip, "curves": (curve(),), **more}))
        tab.events.clear()
        tab.call("Page.navigate", url=path.as_uri())
        tab.wait_for(f"document.readyState === 'complete' && location.href === '{path.as_uri()}'")
        if more.get("video", clip):
            tab.wait_for("video.readyState >= 1")
        return tab

    yield open_page
    tab.call("Emulation.clearDeviceMetricsOverride")
    tab.call("Emulation.setEmulatedMedia", features=[])


def test_the_page_asks_for_nothing_and_complains_of_nothing(show):
    page = show()

    asked = [
        event["params"]["request"]["url"].partition(":")[0]
        for event in page.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert set(asked) <= {"file", "data"}
    assert asked.count("file") == 1
    complaints = ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled")
    assert [event for event in page.events if event["method"] in complaints] == []


def test_a_click_on_a_bar_starts_the_video_there(show):
    page = show()

    page.click('a[href="#d2"] rect')

    page.wait_for("video.currentTime >= 5 && !video.paused")
    page.evaluate("video.pause()")
    assert page.evaluate("video.currentTime") < 7
    page.wait_for("document.querySelector('#d2').classList.contains('now')")
    assert page.evaluate("document.querySelectorAll('.card.now').length") == 1


def test_a_click_on_a_card_starts_the_video_there(show):
    page = show()

    page.click("#d1 button")

    page.wait_for("video.currentTime >= 2 && !video.paused")


def test_a_click_between_the_bars_moves_the_playhead(show):
    page = show()
    x, y, width = page.evaluate(
        "(() => { const b = timeline.getBoundingClientRect(); return [b.x, b.y, b.width]; })()"
    )

    for kind in ("mousePressed", "mouseReleased"):
        page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x + width / 2,
            y=y + 3,
            button="left",
            clickCount=1,
        )

    page.wait_for("Math.abs(video.currentTime - 4) < 0.05")
    page.wait_for("Math.abs(parseFloat(playhead.getAttribute('x1')) - 50) < 0.7")
    assert page.evaluate("video.paused")


def test_bars_are_where_their_time_is_at_any_width(show):
    page = show()

    for width in (360, 800, 1400):
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        boxes = page.evaluate(
            "(() => { const all = timeline.getBoundingClientRect();"
            "return [...document.querySelectorAll('.bar rect')].map(rect => {"
            "const b = rect.getBoundingClientRect();"
            "return [(b.left - all.left) / all.width, b.width / all.width]; }); })()"
        )
        # Half a stroke of one pixel on either side.
        for (left, share), found in zip(boxes, FOUND, strict=True):
            assert left == pytest.approx(found.start_s / 8, abs=2 / 200)
            assert share == pytest.approx((found.end_s - found.start_s) / 8, abs=3 / 200)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width


def test_the_keyboard_reaches_a_bar_and_starts_the_video(show):
    page = show()
    page.evaluate("document.querySelector('a[href=\"#d0\"]').focus()")

    page.press("Tab", 9)
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#d1"
    page.press("Enter", 13, "\r")

    page.wait_for("video.currentTime >= 2")


def test_choices_leave_out_classes_and_low_scores(show):
    page = show()
    assert page.evaluate(f"{SHOWN}.length") == 3

    page.click('.chip input[data-label="High & Jump"]')
    assert page.evaluate(f"{SHOWN}.map(card => card.id)") == ["d0", "d1"]
    assert page.evaluate("document.querySelector('a[href=\"#d2\"]').getBBox().width") == 0

    page.evaluate("least.value = 50; least.dispatchEvent(new Event('input'))")
    assert page.evaluate(f"{SHOWN}.map(card => card.id)") == ["d0"]

    page.click('.chip input[data-label="GolfSwing"]')
    assert page.evaluate(f"{SHOWN}.length") == 0
    assert page.evaluate("document.querySelector('#nothing').checkVisibility()")


def test_cards_can_be_in_order_of_their_scores(show):
    page = show()

    page.evaluate("order.value = 'score'; order.dispatchEvent(new Event('change'))")

    assert page.evaluate(f"{SHOWN}.map(card => card.id)") == ["d0", "d2", "d1"]


def test_hostile_text_is_shown_and_does_nothing(show):
    page = show(title=HOSTILE, found=[Detection(HOSTILE, 1.0, 2.0, HOSTILE, 1.0)])

    assert page.evaluate("document.querySelector('h1').textContent") == HOSTILE
    assert page.evaluate("document.querySelector('.card .label').textContent") == HOSTILE
    assert page.evaluate("document.querySelector('.chip input').dataset.label") == HOSTILE
    assert page.evaluate("document.images.length") == 0
    assert page.evaluate("document.scripts.length") == 1


def test_without_a_video_a_bar_leads_to_its_card(show):
    page = show(video=None)

    page.click('a[href="#d2"] rect')

    page.wait_for("location.hash === '#d2'")
    assert page.evaluate("document.querySelector('video')") is None


def test_text_can_be_read_in_light_and_in_dark(show):
    page = show()
    seen = []
    for scheme in ("light", "dark"):
        page.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )
        colors = page.evaluate(
            "['h1', 'header p', '.card .label', '.card .span', '.least', '.panel'].map("
            "css => getComputedStyle(document.querySelector(css)).color)"
            ".concat(getComputedStyle(document.querySelector('.panel')).backgroundColor)"
        )
        *texts, panel = map(luminance, colors)
        seen.append(panel)
        for text in texts:
            light, dark = max(text, panel), min(text, panel)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (scheme, colors)

    assert seen[0] > 0.8
    assert seen[1] < 0.1


def test_assistive_technology_hears_what_a_bar_is(show):
    page = show()

    nodes = page.call("Accessibility.getFullAXTree")["nodes"]

    names = {
        node["name"]["value"]
        for node in nodes
        if node.get("role", {}).get("value") == "link" and node.get("name")
    }
    assert "GolfSwing, 0:01.0 to 0:03.0, score 0.9" in names
    assert len(names) == 3


def luminance(color):
    """Relative luminance of "rgb(r, g, b)", as WCAG defines it."""
    channels = [int(part) / 255 for part in color.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
