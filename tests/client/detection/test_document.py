"""What docs/detection.md shows is run, and its table of settings is the code's."""

import re
from pathlib import Path

from tsnd_client.detection import ACTIVITYNET12, THUMOS14

DOCUMENT = (Path(__file__).parents[3] / "docs" / "detection.md").read_text()


def test_the_examples_work_as_they_stand(capsys):
    examples = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)

    assert len(examples) == 2
    exec("\n".join(examples), {})
    assert "HighJump from" in capsys.readouterr().out


def test_the_table_of_settings_is_that_of_the_code():
    rows = re.findall(r"^\| `([a-z_]+)` \| ([\w., ]+) \| ([\w., ]+) \|", DOCUMENT, re.MULTILINE)

    assert [name for name, _, _ in rows] == list(THUMOS14.__slots__)
    for name, *shown in rows:
        for settings, cell in zip((THUMOS14, ACTIVITYNET12), shown, strict=True):
            value = getattr(settings, name)
            if name == "pyramid":
                value = ", ".join(map(str, value.levels()))
            assert cell.strip() == str(value), name
