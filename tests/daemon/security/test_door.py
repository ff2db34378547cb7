import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tsnd_daemon.errors import Forbidden, LimitReached, Unauthenticated
from tsnd_daemon.security.callers import ANYONE
from tsnd_daemon.security.door import Door
from tsnd_daemon.security.tokens import Right, digest_of, parse_tokens

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def table(name="camera", secret="s3cret", more=""):
    return f'[tokens.{name}]\nsha256 = "{digest_of(secret)}"\n{more}\n'


def bearer(secret="s3cret"):
    return (("user-agent", "x"), ("authorization", f"Bearer {secret}"))


def door_of(text, clock=lambda: NOON):
    return Door(parse_tokens(text), clock=clock)


def test_a_door_without_tokens_lets_anyone_in_to_everything():
    caller = Door(None).identify(None)

    assert caller is ANYONE
    assert all(caller.has(right) for right in Right)
    assert caller.may_use("any")
    assert caller.in_flight() is None


def test_a_caller_has_the_rights_of_its_token_and_no_others():
    caller = door_of(table(more='rights = ["admin"]\nmodels = ["a"]')).identify(bearer())

    caller.require(Right.ADMIN)
    caller.require_model("a")
    with pytest.raises(Forbidden, match=r"token 'camera' has no right .* \['shared_memory'\]"):
        caller.require(Right.SHARED_MEMORY)
    with pytest.raises(Forbidden, match="may not use model 'b', only a"):
        caller.require_model("b")


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (None, "none came"),
        ((), "none came"),
        ((("authorization", "Basic czNjcmV0"),), "no single bearer token"),
        ((("authorization", b"Bearer s3cret"),), "no single bearer token"),
        ((*bearer(), *bearer()), "no single bearer token"),
        (bearer(""), "not one of this daemon's"),
        (bearer("wrong"), "not one of this daemon's"),
        (bearer(digest_of("s3cret")), "not one of this daemon's"),
    ],
)
def test_who_shows_no_token_of_the_daemons_is_not_let_in(metadata, reason):
    with pytest.raises(Unauthenticated, match=reason) as caught:
        door_of(table()).identify(metadata)

    assert "s3cret" not in str(caught.value)


def test_a_token_that_expires_ends_calls_that_are_open_too():
    now = NOON
    door = door_of(table(more="expires = 2030-01-01T12:00:01Z"), clock=lambda: now)
    caller = door.identify(bearer())
    caller.require_model("any")

    now += timedelta(seconds=1)
    with pytest.raises(Unauthenticated, match="has expired"):
        caller.require_model("any")
    with pytest.raises(Unauthenticated, match="has expired"):
        door.identify(bearer())


def test_a_token_that_is_withdrawn_or_changed_is_not_valid_from_then_on():
    door = door_of(table())
    caller = door.identify(bearer())

    door.replace_tokens(parse_tokens(table(secret="another")))
    with pytest.raises(Unauthenticated, match="has been withdrawn"):
        caller.require_model("any")
    with pytest.raises(Unauthenticated):
        door.identify(bearer())
    assert door.identify(bearer("another")).may_use("any")


def test_streams_of_a_token_are_bounded_over_all_its_calls():
    door = door_of(table(more="max_streams = 2") + table("other", "o"))
    with door.identify(bearer()).stream(), door.identify(bearer()).stream():
        with pytest.raises(LimitReached, match="max_streams"), door.identify(bearer()).stream():
            raise AssertionError
        with door.identify(bearer("o")).stream():
            pass

    with door.identify(bearer()).stream():
        pass


async def test_snippets_of_a_token_are_bounded_until_they_are_answered():
    door = door_of(table(more="max_in_flight = 2"))
    loop = asyncio.get_running_loop()
    held = [loop.create_future() for _ in range(2)]
    for scores in held:
        limit = door.identify(bearer()).in_flight()
        limit.check_room()
        limit.hold(scores)

    with pytest.raises(LimitReached, match="2 snippets of this token are unanswered"):
        limit.check_room()

    held[0].set_result(None)
    held[1].cancel()
    await asyncio.sleep(0)  # callbacks of futures are called by the loop
    limit.check_room(2)
    with pytest.raises(LimitReached):
        limit.check_room(3)


def test_a_limit_that_is_changed_holds_for_open_calls():
    door = door_of(table(more="max_in_flight = 2"))
    caller = door.identify(bearer())

    door.replace_tokens(parse_tokens(table(more="max_in_flight = 1")))

    caller.in_flight().check_room(1)
    with pytest.raises(LimitReached):
        caller.in_flight().check_room(2)
