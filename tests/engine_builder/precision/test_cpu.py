import pytest

from tsnd_builder.precision.cpu import has_int8_dot_products


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", True),
        ("flags : fpu avx2 avx_vnni\nflags : fpu avx2 avx_vnni\n", True),
        ("flags : amx_bf16 amx_tile amx_int8\n", True),
        ("Features\t: fp asimd asimdhp asimddp sve\n", True),
        ("flags : fpu sse4_2 avx avx2 fma avx512f avx512bw\n", False),
        ("model name : avx512_vnni_like\nflags : fpu\n", False),
        ("", False),
    ],
)
def test_the_flags_of_the_processor_tell(tmp_path, text, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text, encoding="utf-8")

    assert has_int8_dot_products(cpuinfo) is expected


def test_a_system_that_does_not_tell_is_taken_to_have_none(tmp_path):
    assert not has_int8_dot_products(tmp_path / "missing")
