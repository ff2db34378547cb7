import pytest

from contracts.elements import (
    PROTOS,
    compile_protos,
    elements,
    file_comment,
    uncommented,
)

EVERYTHING = """
// A service.
service S {
  // A call.
  rpc Call(M) returns (M);
}
// A message,
// in two lines.
message M {
  // A field.
  int32 f = 1;
  optional int32 has_presence = 2;  // Behind it.
  map<string, M> entries = 3;
  oneof choice {
    bytes b = 4;
  }
  enum E {
    ZERO = 0;
  }
}
"""


def test_every_declaration_of_our_protos_has_a_comment():
    missing = uncommented(elements(compile_protos(PROTOS)))

    assert not missing, "\n".join(("no comment has:", *missing))


@pytest.mark.parametrize("file", compile_protos(PROTOS), ids=lambda file: file.name)
def test_every_proto_says_at_its_top_what_it_is_for(file):
    assert file_comment(file)


def test_declarations_are_listed_with_kind_name_and_comment(compiled):
    assert [(one.kind, one.name, one.comment) for one in elements(compiled(EVERYTHING))] == [
        ("service", "t.S", "A service."),
        ("rpc", "t.S.Call", "A call."),
        ("message", "t.M", "A message,\nin two lines."),
        ("field", "t.M.f", "A field."),
        ("field", "t.M.has_presence", "Behind it."),
        ("field", "t.M.entries", ""),
        ("field", "t.M.b", ""),
        ("oneof", "t.M.choice", ""),
        ("enum", "t.M.E", ""),
        ("value", "t.M.E.ZERO", ""),
    ]


def test_what_has_no_comment_is_named(compiled):
    assert uncommented(elements(compiled("message M { int32 f = 1; }"))) == (
        "message t.M",
        "field t.M.f",
    )


def test_a_proto_that_does_not_compile_is_an_error(compiled, capfd):
    with pytest.raises(ValueError, match="does not compile"):
        compiled("message M { Missing f = 1; }")

    assert '"Missing" is not defined' in capfd.readouterr().err
