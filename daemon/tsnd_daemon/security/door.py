"""Finds out who calls, from the metadata of a call."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from tsnd_daemon.errors import Unauthenticated
from tsnd_daemon.security.callers import ANYONE, Caller
from tsnd_daemon.security.limits import Usage
from tsnd_daemon.security.tokens import Token, Tokens, find_name

_HEADER, _SCHEME = "authorization", "bearer "
_HOW = "Send the metadata authorization: Bearer TOKEN; tsnd_client takes token=... or TSND_TOKEN."

Metadata = Sequence[tuple[str, str | bytes]]


def _now() -> datetime:
    return datetime.now(UTC)


class Door:
    """Lets callers in who have a token, or anyone where none are asked for."""

    def __init__(self, tokens: Tokens | None, *, clock: Callable[[], datetime] = _now) -> None:
        """Make a door.

        Args:
            tokens: Those that are let in; None lets in anyone.
            clock: When it is, with a time zone.
        """
        self._tokens = tokens
        self._clock = clock
        self._usages: dict[str, Usage] = {}

    @property
    def is_open(self) -> bool:
        """Whether anyone is let in."""
        return self._tokens is None

    def replace_tokens(self, tokens: Tokens) -> None:
        """Let in these instead, from now on and on calls that are open, too."""
        self._tokens = tokens
        # Those of tokens that are gone stay while calls with them do.
        self._usages = {name: use for name, use in self._usages.items() if name in tokens}

    def identify(self, metadata: Metadata | None) -> Caller:
        """Return who makes a call; raises Unauthenticated."""
        tokens = self._tokens
        if tokens is None:
            return ANYONE
        name = find_name(tokens, _presented(metadata or ()))
        if name is None:
            raise Unauthenticated(f"the token is not one of this daemon's. {_HOW}")
        digest = tokens[name].sha256
        caller = Caller(
            f"token {name!r}",
            lambda: self._valid(name, digest),
            self._usages.setdefault(name, Usage()),
        )
        self._valid(name, digest)
        return caller

    def _valid(self, name: str, digest: str) -> Token:
        """Return what is known of a token now; raises Unauthenticated when it is valid no more."""
        token = (self._tokens or {}).get(name)
        if token is None or token.sha256 != digest:
            raise Unauthenticated(f"token {name!r} has been withdrawn. Ask for another.")
        if not token.is_valid_at(self._clock()):
            raise Unauthenticated(
                f"token {name!r} has expired, at {token.expires}. Ask for another."
            )
        return token


def _presented(metadata: Metadata) -> str:
    """Return the token that a call came with; raises Unauthenticated when there is none."""
    values = [value for key, value in metadata if key == _HEADER]
    if not values:
        raise Unauthenticated(f"this daemon asks for a token, and none came. {_HOW}")
    value = values[0]
    if len(values) > 1 or not isinstance(value, str) or not value.lower().startswith(_SCHEME):
        raise Unauthenticated(f"the authorization that came is no single bearer token. {_HOW}")
    return value[len(_SCHEME) :].strip()
