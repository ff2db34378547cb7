import pytest

from contracts.elements import compile_protos, elements
from contracts.snapshot import to_promises


@pytest.fixture
def compiled(tmp_path):
    """Compile the text of a proto3 file of package t: compiled("message A {}")."""

    def compile_text(text, syntax="proto3"):
        (tmp_path / "t.proto").write_text(f'syntax = "{syntax}"; package t;\n{text}\n')
        return compile_protos(tmp_path)

    return compile_text


@pytest.fixture
def promised(compiled):
    """Say what the text of a proto promises."""

    def promise(text, syntax="proto3"):
        return to_promises(elements(compiled(text, syntax)))

    return promise
