from contracts.elements import PROTOS, compile_protos, elements
from contracts.snapshot import Promise, Snapshot, load, parse, to_promises, to_text

MESSAGE = """
service S { rpc Call(stream M) returns (M); }
message M {
  reserved 2, 7 to 9;
  reserved "old";
  oneof o { string late = 10; }
  map<string, M> early = 1;
}
enum E { reserved 3; ZERO = 0; }
"""


def test_a_snapshot_has_a_line_for_each_promise_in_the_order_of_numbers(promised):
    text = to_text(Snapshot(promised(MESSAGE)))

    assert [line for line in text.splitlines() if not line.startswith("#")] == [
        "enum t.E",
        "value t.E.ZERO number=0",
        "reserved t.E. first=3 last=3",
        "message t.M",
        "field t.M.early number=1 type=string,t.M label=map",
        "field t.M.late number=10 type=string label=singular oneof=o",
        "reserved t.M. first=2 last=2",
        "reserved t.M. first=7 last=9",
        "reserved t.M.old",
        "service t.S",
        "rpc t.S.Call request=t.M response=t.M requests=stream responses=one",
    ]


def test_what_is_written_is_read_again():
    snapshot = Snapshot(
        (Promise("field", "t.M.f", {"number": "1", "default": "two words = 2"}),),
        broken=("nobody used it",),
    )

    assert parse(to_text(snapshot)) == snapshot


def test_a_snapshot_that_is_not_there_has_promised_nothing(tmp_path):
    assert load(tmp_path / "contract.txt") == Snapshot(())


def test_the_recorded_contract_is_that_of_the_protos():
    now = to_promises(elements(compile_protos(PROTOS)))

    assert to_text(load()) == to_text(Snapshot(now, load().broken))
