import json
from dataclasses import replace

import numpy as np
import pytest

from tsnd_builder.parity import Agreement
from tsnd_builder.verification.findings import (
    REPORT_FILE,
    Finding,
    NotRun,
    table,
    worst_errors,
    write_report,
)

GOOD = Agreement(max_error=0.001, mean_error=0.0, cosine=1.0, top1=1.0, clear_top1=1.0, top5=1.0)


def finding(*, artifact="half.onnx", output="scores", tolerance: float | None = 0.01, **numbers):
    agreement = replace(GOOD, **numbers)
    return Finding(artifact, "FP32", "noise", output, agreement, tolerance)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (finding(), True),
        (finding(max_error=0.01), True),
        (finding(max_error=0.0101), False),
        (finding(max_error=np.nan), False),
        (finding(max_error=np.inf), False),
        (finding(top1=0.5), True),
        (finding(clear_top1=0.99), False),
        (finding(clear_top1=0.99, output="features"), True),
        (finding(max_error=0.02, output="features"), False),
        (finding(max_error=0.9, clear_top1=0.0, tolerance=None), True),
        (finding(max_error=np.nan, tolerance=None), False),
        (finding(max_error=np.inf, tolerance=None), False),
    ],
)
def test_a_finding_is_within_tolerance_when_error_and_first_classes_are(found, expected):
    assert found.is_within_tolerance is expected


def test_the_report_has_all_that_was_found(tmp_path):
    findings = [finding(), finding(artifact="int8.onnx", tolerance=None, max_error=np.nan)]

    write_report(tmp_path / REPORT_FILE, findings, [NotRun("a.plan", "no GPU")])

    report = json.loads((tmp_path / REPORT_FILE).read_text(encoding="utf-8"))
    assert [f["artifact"] for f in report["findings"]] == ["half.onnx", "int8.onnx"]
    assert [f["is_within_tolerance"] for f in report["findings"]] == [True, False]
    assert report["findings"][0]["agreement"]["max_error"] == 0.001
    assert report["not_run"] == [{"artifact": "a.plan", "reason": "no GPU"}]
    assert set(report["tools"]) == {"tsnd", "onnxruntime", "numpy"}


def test_the_worst_error_of_each_file_is_read_back(tmp_path):
    findings = [finding(max_error=error) for error in (0.001, 0.5, 0.01)]
    write_report(tmp_path / REPORT_FILE, [*findings, finding(artifact="int8.onnx")], [])

    assert worst_errors(tmp_path) == {"half.onnx": 0.5, "int8.onnx": 0.001}


@pytest.mark.parametrize("errors", [(0.5, np.nan), (np.nan, 0.5), (np.nan,)])
def test_what_is_no_number_is_the_worst_error(tmp_path, errors):
    write_report(tmp_path / REPORT_FILE, [finding(max_error=error) for error in errors], [])

    assert np.isnan(worst_errors(tmp_path)["half.onnx"])


@pytest.mark.parametrize(
    "content",
    [None, b"", b"{", b"[]", b"5", b"{}", b'{"findings": [1]}', b'{"findings": [{}]}', b"\xff\xfe"],
)
def test_without_a_report_that_can_be_read_nothing_is_known(tmp_path, content):
    if content is not None:
        (tmp_path / REPORT_FILE).write_bytes(content)

    assert worst_errors(tmp_path) == {}


def test_the_table_has_a_title_for_each_file_and_marks_what_failed():
    failed = finding(artifact="int8.onnx", max_error=0.25)

    lines = list(table([finding(), finding(output="features"), failed], [NotRun("a.plan", "why")]))

    assert [line for line in lines if " against " in line] == [
        "half.onnx against FP32",
        "int8.onnx against FP32",
    ]
    assert [line.startswith("  scores") for line in lines if "OUT OF TOLERANCE" in line] == [True]
    assert lines[-1] == "a.plan was not run: why"


def test_columns_stand_below_their_heads():
    head, _, row = table([finding(tolerance=None, max_error=0.25, top1=0.5)], [])

    assert len(head) == len(row)
    for name, cell in (("max error", "2.5e-01"), ("allowed", "-"), ("top-1", "50%")):
        assert head.index(name) + len(name) == row.index(f" {cell} ") + len(cell) + 1


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"findings": [{"artifact": [], "agreement": {"max_error": 1}}]}',
        '{"findings": [{"artifact": "a", "agreement": {"max_error": 1' + "0" * 400 + "}}]}",
    ],
    ids=["deep", "no name", "too large a number"],
)
def test_a_report_that_is_none_counts_as_no_report(tmp_path, text):
    (tmp_path / REPORT_FILE).write_text(text, encoding="utf-8")

    assert worst_errors(tmp_path) == {}
