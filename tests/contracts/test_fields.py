import pytest

from contracts.elements import elements
from contracts.fields import FieldShape, shape_of


def only_field(files):
    (field,) = (one for one in elements(files) if one.kind == "field" and one.name == "t.M.f")
    return shape_of(field)


@pytest.mark.parametrize(
    ("declaration", "shape"),
    [
        ("int32 f = 1;", FieldShape(1, ("int32",), "singular", "", "")),
        ("optional bytes f = 2;", FieldShape(2, ("bytes",), "optional", "", "")),
        ("repeated M f = 3;", FieldShape(3, ("t.M",), "repeated", "", "")),
        ("map<string, M> f = 4;", FieldShape(4, ("string", "t.M"), "map", "", "")),
        ("oneof o { E f = 5; }", FieldShape(5, ("t.E",), "singular", "o", "")),
    ],
)
def test_a_proto3_field_has_number_types_label_and_oneof(compiled, declaration, shape):
    assert only_field(compiled(f"message M {{ {declaration} }} enum E {{ ZERO = 0; }}")) == shape


@pytest.mark.parametrize(
    ("declaration", "shape"),
    [
        ("optional int32 f = 1 [default = 7];", FieldShape(1, ("int32",), "optional", "", "7")),
        ("required int32 f = 2;", FieldShape(2, ("int32",), "required", "", "")),
        ("oneof o { int32 f = 3; }", FieldShape(3, ("int32",), "singular", "o", "")),
    ],
)
def test_a_proto2_field_has_a_default_too(compiled, declaration, shape):
    assert only_field(compiled(f"message M {{ {declaration} }}", "proto2")) == shape
