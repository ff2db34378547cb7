import hashlib
from datetime import UTC, datetime

import pytest

from tsnd_daemon.errors import SettingsError
from tsnd_daemon.security.tokens import (
    Right,
    digest_of,
    find_name,
    load_tokens,
    new_token,
    parse_tokens,
    to_table,
)

HASH = hashlib.sha256(b"s3cret").hexdigest()
FULL = f"""
[tokens.camera]
sha256 = "{HASH}"
rights = ["admin", "shared_memory"]
models = ["kinetics_rgb"]
max_streams = 4
max_in_flight = 256
expires = 2030-01-01T00:00:00Z
"""


def test_a_file_says_what_each_token_may_do():
    token = parse_tokens(FULL)["camera"]

    assert token.rights == {Right.ADMIN, Right.SHARED_MEMORY}
    assert token.models == frozenset({"kinetics_rgb"})
    assert (token.max_streams, token.max_in_flight) == (4, 256)
    assert token.is_valid_at(datetime(2029, 12, 31, tzinfo=UTC))
    assert not token.is_valid_at(datetime(2030, 1, 1, tzinfo=UTC))


def test_a_token_has_no_rights_and_no_bounds_unless_they_are_named():
    token = parse_tokens(f'[tokens.plain]\nsha256 = "{HASH}"')["plain"]

    assert (token.rights, token.models, token.expires) == (frozenset(), None, None)
    assert (token.max_streams, token.max_in_flight) == (None, None)


def test_a_token_is_found_by_its_characters_alone():
    tokens = parse_tokens(FULL + f'[tokens.other]\nsha256 = "{digest_of("other")}"')

    assert find_name(tokens, "s3cret") == "camera"
    assert find_name(tokens, "other") == "other"
    assert [find_name(tokens, wrong) for wrong in ("", "S3cret", HASH, "s3cret ")] == [None] * 4


def test_every_hash_is_compared_whichever_it_is(monkeypatch):
    names = [f"t{index}" for index in range(5)]
    tokens = parse_tokens("".join(f'[tokens.{n}]\nsha256 = "{digest_of(n)}"\n' for n in names))
    compared = []

    def counting(first, second):
        compared.append(second)
        return first == second

    monkeypatch.setattr("tsnd_daemon.security.tokens.hmac.compare_digest", counting)
    assert find_name(tokens, "t0") == "t0"
    assert compared == [digest_of(name) for name in names]


def test_new_tokens_differ_and_their_tables_let_them_in():
    first, second = new_token(), new_token()

    assert first != second
    assert len(first) >= 43  # of 256 bits in base64
    for name in ("cam-1", 'of "Jürgen"', "a.b"):
        tokens = parse_tokens(to_table(name, first))
        assert find_name(tokens, first) == name
        assert find_name(tokens, second) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "tokens is missing"),
        ("[tokens]", "tokens: Dictionary should have at least 1 item"),
        ("tokens = 3", "tokens: Input should be a valid dictionary"),
        ("[tokens.a", "not valid TOML"),
        ("[tokens.a]", "tokens.a.sha256 is missing"),
        ("[tokens.a]\nsha256 = 's3cret'", "tokens.a.sha256: String should match pattern"),
        (f"[tokens.a]\nsha256 = '{HASH}'\nright = []", "tokens.a.right: there is no such key"),
        (f"[tokens.a]\nsha256 = '{HASH}'\nrights = ['root']", "'admin' or 'shared_memory'"),
        (f"[tokens.a]\nsha256 = '{HASH}'\nmax_streams = 0", "greater than 0"),
        (f"[tokens.a]\nsha256 = '{HASH}'\nexpires = 2030-01-01T00:00:00", "timezone"),
        (f"[tokens.a]\nsha256 = '{HASH}'\n[tokens.b]\nsha256 = '{HASH}'", "have one hash"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, text, reason):
    path = tmp_path / "tokens.toml"
    path.write_text(text)

    with pytest.raises(SettingsError) as caught:
        load_tokens(path)

    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert "tsnd token new" in str(caught.value)


def test_what_was_written_by_mistake_is_not_repeated():
    with pytest.raises(SettingsError) as caught:
        parse_tokens("[tokens.a]\nsha256 = 'tsnd_a-real-secret'")

    assert "a-real-secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match="No such file"):
        load_tokens(tmp_path / "none.toml")
