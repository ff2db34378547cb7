import re

from contracts.__main__ import API
from contracts.elements import PROTOS, compile_protos, elements
from contracts.reference import anchor, reference

DOCUMENTED = """
// Greets.
service S {
  // Says hello.
  rpc Greet(stream M) returns (M);
}
// A greeting.
message M {
  // First line,
  // second | line.
  repeated string words = 1;
  // Others by name.
  map<string, M> others = 2;
  // How it is said.
  oneof tone {
    // In a way.
    Way way = 3;
  }
}
// A way.
enum Way {
  // None.
  WAY_UNSPECIFIED = 0;
}
"""


def test_a_service_shows_its_rpcs_and_what_they_stream(compiled):
    text = reference(compiled(DOCUMENTED))

    assert "### t.S\n\nGreets.\n" in text
    assert "**Greet** (stream of [M](#tm)) returns ([M](#tm))\n\nSays hello.\n" in text


def test_a_message_is_a_table_of_its_fields(compiled):
    assert r"""### t.M

A greeting.

| number | type | name | meaning |
|---|---|---|---|
| 1 | repeated `string` | `words` | First line, second \| line. |
| 2 | map of `string` to [M](#tm) | `others` | Others by name. |
| 3 | [Way](#tway) | `way` | In a way. |

One of `way` at most is set, as `tone`: How it is said.
""" in reference(compiled(DOCUMENTED))


def test_an_enum_is_a_table_of_its_values(compiled):
    text = reference(compiled(DOCUMENTED))

    assert "| number | name | meaning |\n|---|---|---|\n| 0 | `WAY_UNSPECIFIED` | None. |" in text


def test_a_default_is_named(compiled):
    text = reference(
        compiled("message M {\n// How many.\noptional int32 f = 1 [default = 7];\n}", "proto2")
    )

    assert "| 1 | optional `int32` | `f` | How many. Default 7. |" in text


def test_the_page_has_every_declaration_of_the_protos():
    page = API.read_text()

    for one in elements(compile_protos(PROTOS)):
        assert f"### {one.name}\n" in page or one.owner is not None, one.name


def test_links_within_the_page_lead_to_a_heading():
    page = API.read_text()
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)

    assert set(re.findall(r"\]\((#[^)]+)\)", page)) <= set(map(anchor, headings))
