import pytest

from contracts.compatibility import breaks

BEFORE = """
service S { rpc Call(A) returns (B); }
message A {
  reserved 9;
  reserved "ancient";
  string name = 1;
  uint32 count = 2;
  oneof payload { bytes raw = 3; }
  E kind = 4;
}
message B {}
enum E { E_UNSPECIFIED = 0; E_ONE = 1; }
"""

BROKEN = [
    (
        "a field that is gone",
        ("uint32 count = 2;", ""),
        "field t.A.count is gone and may be taken for another one; put it back, or reserve what "
        'it had: reserved 2; reserved "count".',
    ),
    (
        "a field of which only the number is reserved",
        ("uint32 count = 2;", "reserved 2;"),
        "field t.A.count is gone and may be taken for another one; put it back, or reserve what "
        'it had: reserved 2; reserved "count".',
    ),
    (
        "another number",
        ("count = 2", "count = 5"),
        "field t.A.count had number 2 and has 5; give it 2 again; what is new needs a field "
        "of its own.",
    ),
    (
        "another type",
        ("uint32 count", "uint64 count"),
        "field t.A.count had type uint32 and has uint64; give it uint32 again, and add a "
        "field of the new type beside it.",
    ),
    (
        "another name",
        ("count = 2", "size = 2"),
        "field t.A.count is called t.A.size now; give it its name again, for JSON and generated "
        "code go by it.",
    ),
    (
        "another label",
        ("uint32 count", "repeated uint32 count"),
        "field t.A.count had label singular and has repeated; make it singular again, and "
        "add another field beside it.",
    ),
    (
        "presence of its own",
        ("uint32 count", "optional uint32 count"),
        "field t.A.count had label singular and has optional; make it singular again, and "
        "add another field beside it.",
    ),
    (
        "into a oneof",
        ("uint32 count = 2;\n  oneof payload {", "oneof payload { uint32 count = 2;"),
        "field t.A.count had oneof none and has payload; leave it where it was, and add "
        "another field there.",
    ),
    (
        "out of a oneof",
        ("oneof payload { bytes raw = 3; }", "bytes raw = 3;"),
        "field t.A.raw had oneof payload and has none; leave it where it was, and add "
        "another field there.",
    ),
    (
        "a number that was reserved is free",
        ("reserved 9;", ""),
        "reserved numbers 9 to 9 of t.A are free again; reserve them, for they had a meaning once.",
    ),
    (
        "a name that was reserved is free",
        ('reserved "ancient";', ""),
        "reserved t.A.ancient is free again; reserve it, for it had a meaning once.",
    ),
    (
        "a value that is gone",
        ("E_ONE = 1;", ""),
        "value t.E.E_ONE is gone and may be taken for another one; put it back, or reserve what "
        'it had: reserved 1; reserved "E_ONE".',
    ),
    (
        "another number of a value",
        ("E_ONE = 1", "E_ONE = 2"),
        "value t.E.E_ONE had number 1 and has 2; give it 1 again; what is new needs a value "
        "of its own.",
    ),
    (
        "another name of a value",
        ("E_ONE = 1", "E_FIRST = 1"),
        "value t.E.E_ONE is called t.E.E_FIRST now; give it its name again, for JSON and "
        "generated code go by it.",
    ),
    (
        "an rpc that is gone",
        ("rpc Call(A) returns (B);", ""),
        "rpc t.S.Call is gone; put it back, for peers that were built before still use it.",
    ),
    (
        "requests become a stream",
        ("Call(A)", "Call(stream A)"),
        "rpc t.S.Call had requests one and has stream; take one again, and add an rpc beside it.",
    ),
    (
        "responses become a stream",
        ("returns (B)", "returns (stream B)"),
        "rpc t.S.Call had responses one and has stream; return one again, and add an rpc "
        "beside it.",
    ),
    (
        "another request",
        ("Call(A)", "Call(B)"),
        "rpc t.S.Call had request t.A and has t.B; take t.A again, and add an rpc for the other.",
    ),
    (
        "another response",
        ("returns (B)", "returns (A)"),
        "rpc t.S.Call had response t.B and has t.A; return t.B again, and add an rpc for the "
        "other.",
    ),
    (
        "a service that is gone",
        ("service S { rpc Call(A) returns (B); }", ""),
        "service t.S is gone; put it back, for peers that were built before still use it.",
    ),
]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [pytest.param(change, sentence, id=name) for name, change, sentence in BROKEN],
)
def test_a_break_is_one_sentence_with_the_remedy(promised, change, sentence):
    assert change[0] in BEFORE

    assert breaks(promised(BEFORE), promised(BEFORE.replace(*change))) == [sentence]


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            "message A { int32 f = 1; } message B {}",
            "message B {}",
            "message t.A is gone; put it back, for peers that were built before still use it.",
        ),
        (
            "enum E { ZERO = 0; } message B {}",
            "message B {}",
            "enum t.E is gone; put it back, for peers that were built before still use it.",
        ),
    ],
)
def test_a_message_or_enum_that_is_gone_is_named_without_its_parts(
    promised, before, after, sentence
):
    assert breaks(promised(before), promised(after)) == [sentence]


def test_another_default_is_a_break(promised):
    before = promised("message A { optional int32 f = 1 [default = 1]; }", "proto2")
    after = promised("message A { optional int32 f = 1; }", "proto2")

    assert breaks(before, after) == [
        "field t.A.f had default 1 and has none; leave its default, for peers do not send "
        "what has its default."
    ]


def test_a_new_field_that_is_required_is_a_break(promised):
    before = promised("message A {}", "proto2")
    after = promised("message A { required int32 f = 1; }", "proto2")

    assert breaks(before, after) == [
        "field t.A.f is new and required; make it optional, for peers that were built before do "
        "not send it."
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("", ""), id="nothing"),
        pytest.param(("E kind = 4;", "E kind = 4; repeated B more = 5;"), id="a field"),
        pytest.param(("bytes raw = 3;", "bytes raw = 3; B other = 5;"), id="a field of a oneof"),
        pytest.param(("E_ONE = 1;", "E_ONE = 1; E_TWO = 2;"), id="a value"),
        pytest.param(("message B {}", "message B {} message C {}"), id="a message"),
        pytest.param(("returns (B);", "returns (B); rpc New(B) returns (B);"), id="an rpc"),
        pytest.param(("reserved 9;", "reserved 8 to 10;"), id="more reserved"),
        pytest.param(("reserved 9;", "reserved 8, 10; reserved 9;"), id="reserved in parts"),
        pytest.param(
            ("uint32 count = 2;", 'reserved 2; reserved "count";'), id="a field retired for good"
        ),
        pytest.param(
            ("E_ONE = 1;", 'reserved 1; reserved "E_ONE";'), id="a value retired for good"
        ),
        pytest.param(
            ("uint32 count = 2;", "uint32 count = 2 [deprecated = true];"), id="deprecated"
        ),
    ],
)
def test_what_peers_do_not_notice_breaks_nothing(promised, change):
    old, new = change

    assert breaks(promised(BEFORE), promised(BEFORE.replace(old, new, 1))) == []


def test_every_break_of_a_change_is_listed(promised):
    after = BEFORE.replace("count = 2", "count = 5").replace("E_ONE = 1", "E_ONE = 2")

    assert len(breaks(promised(BEFORE), promised(after))) == 2
