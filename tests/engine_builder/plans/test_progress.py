import io

import pytest

from tsnd_builder.plans.progress import BuildWatch, Progress, bar, progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_phase_counts_for_a_step_of_its_parent():
    seen: list[Progress] = []
    watch = BuildWatch(seen.append)

    watch.start("build", None, 4)
    watch.step("build", 0)
    watch.start("time kernels", "build", 2)
    watch.step("time kernels", 0)

    assert seen == [
        Progress("build", 0.0),
        Progress("build", 1 / 4),
        Progress("time kernels", 1 / 4),
        Progress("time kernels", (1 + 1 / 2) / 4),
    ]


def test_progress_never_falls():
    seen: list[Progress] = []
    watch = BuildWatch(seen.append)
    watch.start("build", None, 2)
    watch.step("build", 0)

    watch.start("build", None, 100)

    assert seen[-1] == Progress("build", 1 / 2)


@pytest.mark.parametrize("parent", ["unknown", "phase"])
def test_a_phase_without_a_way_to_the_whole_counts_nothing(parent):
    seen: list[Progress] = []
    watch = BuildWatch(seen.append)

    watch.start("phase", parent, 0)
    watch.step("phase", 0)
    watch.step("never started", 0)

    assert {progress.fraction for progress in seen} == {0.0}


def test_a_finished_phase_is_forgotten():
    seen: list[Progress] = []
    watch = BuildWatch(seen.append)
    watch.start("build", None, 2)
    watch.start("inner", "build", 2)

    watch.finish("inner")
    watch.finish("never started")
    watch.step("build", 0)

    assert seen[-1] == Progress("build", 1 / 2)


def test_a_build_goes_on_until_it_is_cancelled():
    watch = BuildWatch()
    watch.start("build", None, 3)

    assert watch.step("build", 0)
    watch.cancel()
    assert not watch.step("build", 1)


def test_what_a_listener_raises_is_kept_and_cancels():
    def fail(_progress):
        raise OSError("no terminal")

    watch = BuildWatch(fail)

    watch.start("build", None, 3)

    assert not watch.step("build", 0)
    assert isinstance(watch.failure, OSError)


def test_a_bar_is_drawn_on_a_terminal_and_wiped_away():
    terminal = Terminal()

    with progress_bar(terminal) as draw:
        assert draw is not None
        draw(Progress("build", 0.5))
        drawn = terminal.getvalue()
        draw(Progress("build", 0.5001))

    assert drawn == f"\r\x1b[K[{'#' * 15}{'-' * 15}]  50% build"
    assert terminal.getvalue() == f"{drawn}\r\x1b[K"


def test_a_bar_is_wiped_away_when_the_build_fails():
    terminal = Terminal()

    with pytest.raises(KeyboardInterrupt), progress_bar(terminal) as draw:
        assert draw is not None
        draw(Progress("build", 0.5))
        raise KeyboardInterrupt

    assert terminal.getvalue().endswith("\r\x1b[K")


def test_nothing_is_drawn_into_a_file():
    file = io.StringIO()

    with progress_bar(file) as draw:
        assert draw is None

    assert file.getvalue() == ""


@pytest.mark.parametrize("fraction", [0.0, 1 / 3, 1.0])
def test_a_bar_fits_a_terminal(fraction):
    assert len(bar(Progress("a very long phase name" * 9, fraction))) < 80
