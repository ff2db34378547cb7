"""Writing the reference and the contract, as `make protos` does."""

import pytest

from contracts.__main__ import MARK, with_reference, write
from contracts.snapshot import load

BEFORE = 'syntax = "proto3"; package t; message A { int32 f = 1; }'
ADDED = 'syntax = "proto3"; package t; message A { int32 f = 1; int32 g = 2; }'
BROKEN = 'syntax = "proto3"; package t; message A { int64 f = 1; }'


@pytest.fixture
def run(tmp_path):
    """Write what follows from the text of a proto: run(text, why); returns the exit status."""
    (tmp_path / "protos").mkdir()
    (tmp_path / "api.md").write_text(f"By hand.\n{MARK}")

    def run_once(text, reason=None):
        (tmp_path / "protos" / "a.proto").write_text(text)
        return write(
            reason,
            protos=tmp_path / "protos",
            lock=tmp_path / "contract.txt",
            api=tmp_path / "api.md",
        )

    return run_once


def test_additions_join_the_contract_and_the_page(run, tmp_path):
    assert run(BEFORE) == run(ADDED) == 0

    assert "field t.A.g number=2" in (tmp_path / "contract.txt").read_text()
    page = (tmp_path / "api.md").read_text()
    assert page.startswith("By hand.\n")
    assert "| 2 | `int32` | `g` |" in page


def test_a_break_is_refused_and_leaves_everything_as_it_was(run, tmp_path, capsys):
    run(BEFORE)
    before = [(tmp_path / name).read_text() for name in ("contract.txt", "api.md")]

    assert run(BROKEN) == 1

    assert [(tmp_path / name).read_text() for name in ("contract.txt", "api.md")] == before
    err = capsys.readouterr().err
    assert "field t.A.f had type int32 and has int64" in err
    assert "make protos-break WHY=" in err


def test_a_break_with_a_reason_is_recorded_and_kept(run, tmp_path):
    run(BEFORE)

    assert run(BROKEN, "nobody has used it yet") == run(BROKEN) == 0

    snapshot = load(tmp_path / "contract.txt")
    assert snapshot.broken == ("nobody has used it yet",)
    assert snapshot.promises[1].facts["type"] == "int64"


def test_a_reason_without_a_break_is_not_recorded(run, tmp_path):
    run(BEFORE)
    run(ADDED, "to be safe")

    assert load(tmp_path / "contract.txt").broken == ()


def test_a_page_without_the_mark_is_an_error():
    with pytest.raises(ValueError, match="has no line"):
        with_reference("By hand.\n", "reference")
