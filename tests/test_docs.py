"""What the documents promise is what the code does."""

import re
from pathlib import Path

import pytest

from tsnd_builder.layers.registry import LAYER_SPECS
from tsnd_daemon.settings import Settings

ROOT = Path(__file__).parents[1]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])


def test_the_layer_table_lists_exactly_the_registered_types():
    table = (ROOT / "docs" / "layers.md").read_text()

    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE) == sorted(LAYER_SPECS)


def test_documented_defaults_are_the_real_ones():
    def shown(default):
        if default is None:
            return "none"
        if isinstance(default, tuple | dict):
            return ",".join(map(str, default)) or "none"
        return f"{default:g}" if isinstance(default, float) else str(default)

    _, _, settings = OPERATIONS.partition("## Settings")
    table, _, _ = settings.partition("```toml")
    rows = re.findall(r"^\| `(\w+)` \| ([\w:,.]+)", table, re.MULTILINE)

    assert len(rows) >= 15
    for name, default in rows:
        assert default == shown(Settings.model_fields[name].default), name


def test_every_make_target_that_a_document_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    for document in DOCUMENTS:
        named = re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", document.read_text(), re.MULTILINE)
        assert {first or second for first, second in named} <= targets, document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    links = re.findall(r"\]\((?!http)([^)#]+)", document.read_text())

    for link in links:
        assert (document.parent / link).exists(), link
