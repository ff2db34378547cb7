from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from tsnd.caffe.net_pb2 import NetParameter
from tsnd_builder.caffe.unknown_fields import UnknownField, find_unknown_fields


def unknown_in(text):
    """List what the scan finds in a text that the parser accepts."""
    text_format.Parse(text, NetParameter(), allow_unknown_field=True)
    return find_unknown_fields(text, NetParameter.DESCRIPTOR)


def names_in(text):
    return [field.name for field in unknown_in(text)]


def test_a_text_of_known_fields_has_no_unknown_ones():
    text = 'name: "a" "b"; input_dim: [1, 2] layer { pooling_param: < pool: MAX pad: 1 > }'

    assert unknown_in(text) == []


def test_an_unknown_field_is_found_with_line_message_and_path():
    text = 'name: "x"\nlayer { name: "a" }\nlayer {\n  pooling_param {\n    size: 3\n  }\n}'

    assert unknown_in(text) == [
        UnknownField(
            line=5,
            message="PoolingParameter",
            name="size",
            path=(("layer", 1), ("pooling_param", 0)),
        )
    ]


def test_all_unknown_fields_are_found_in_order():
    assert names_in("u1: 1 layer { u2: 'x' } u3 { a: 1 } name: 'n' u4 < >") == [
        "u1",
        "u2",
        "u3",
        "u4",
    ]


def test_nothing_within_an_unknown_field_is_reported():
    assert names_in("u { v { w: 1 } x: [1, 2] y: [{ z: 1 }, < z: 2 >] } name: 'n'") == ["u"]


def test_known_names_inside_unknown_messages_do_not_count_as_theirs():
    text = "u { layer { a: 1 } } layer { b: 1 }"

    assert [(field.name, field.path) for field in unknown_in(text)] == [
        ("u", ()),
        ("b", (("layer", 0),)),
    ]


def test_strings_and_comments_are_not_taken_for_fields():
    assert names_in("name: 'u1: 1' # u2: 1 }\n") == []
    assert names_in('name: "{" "}" # "\n u: "#"') == ["u"]


def test_elements_of_a_list_count_one_by_one():
    text = "layer: [{ name: 'a' }, < u: 1 >] layer { v: 1 }"

    assert [field.path for field in unknown_in(text)] == [(("layer", 1),), (("layer", 2),)]


def test_separators_do_not_hide_a_field():
    assert names_in("name: 'a', u: 1; v: 2, layer { w: 3; }") == ["u", "v", "w"]


SCALARS = st.sampled_from(["1", "-2", ".5", "true", "MAX", "'s'", "\"s\" 't'", "[1, 2]", "[]"])
GAPS = st.sampled_from([" ", "\n", " # } a: {\n", ", ", "; "])


def message(known, unknown, body):
    """Draw the text of a sub-message under a known or unknown name, in any brackets."""
    names = st.sampled_from([*known, *unknown])
    brackets = st.sampled_from(["{{ {} }}", "< {} >", ": {{ {} }}", ":< {} >", ": [{{ {} }}]"])
    return st.builds(lambda name, form, inner: name + form.format(inner), names, brackets, body)


def body_of(*fields):
    """Draw a sequence of fields with something between them."""
    return st.lists(st.tuples(st.one_of(*fields), GAPS), max_size=4).map(
        lambda pairs: "".join(field + gap for field, gap in pairs)
    )


MISSPELT = st.builds("{}: {}".format, st.sampled_from(["u", "naem", "layers"]), SCALARS)
POOLINGS = body_of(MISSPELT, st.sampled_from(["pad: 1", "pad_h: 0x2", "pool: AVE"]))
LAYERS = body_of(
    MISSPELT,
    st.sampled_from(["bottom: 'a' \"b\"", "bottom: ['a', 'b']", "loss_weight: .5"]),
    message(["param"], ["foo"], st.just("")),
    message(["pooling_param"], ["pooling_parm"], POOLINGS),
    message(["include", "exclude"], ["pooling_parm"], body_of(MISSPELT)),
)
NETS = body_of(
    MISSPELT,
    st.just("input_dim: [1, 2]"),
    message(["layer"], ["layr"], LAYERS),
    message([], ["pooling_param"], POOLINGS),
)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(text=NETS)
def test_the_scan_finds_something_exactly_when_the_strict_parser_refuses(text):
    try:
        text_format.Parse(text, NetParameter(), allow_unknown_field=True)
    except text_format.ParseError:
        return  # not valid for other reasons
    try:
        text_format.Parse(text, NetParameter())
        is_strict = True
    except text_format.ParseError:
        is_strict = False

    assert (unknown_in(text) == []) == is_strict
