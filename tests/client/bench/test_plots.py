import pytest

pytest.importorskip("matplotlib", reason="Matplotlib is not installed: pip install 'tsnd[plots]'")

HEADS = {".png": b"\x89PNG", ".svg": b"<?xml"}


@pytest.mark.parametrize("suffix", HEADS)
def test_a_sweep_is_drawn(bench, tmp_path, suffix):
    path = tmp_path / f"sweep{suffix}"
    assert bench("--sweep", "50,100", "--streams", "1", "--plot", str(path)) == 0

    assert path.read_bytes().startswith(HEADS[suffix])


def test_a_closed_loop_is_drawn(bench, tmp_path):
    path = tmp_path / "closed.svg"
    assert bench("--in-flight", "1", "--streams", "1", "--plot", str(path)) == 0

    assert path.stat().st_size > 1000


def test_a_name_without_a_known_format_is_refused_before_anything_is_sent(bench, capsys):
    assert bench("--rate", "5", "--plot", "out.gif") == 2

    assert "expected a name that ends in .png or .svg" in capsys.readouterr().err
