"""Who makes a call, and what that may do: asked by every service where it matters.

The caller is set once, where a call begins (services/errors_to_status.py), and is found
wherever the call leads, tasks that it starts included.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

from tsnd_daemon.errors import Forbidden
from tsnd_daemon.security.limits import Usage
from tsnd_daemon.security.tokens import Right, Token


class Caller:
    """One who calls: what the token says at the moment, and what its calls hold."""

    def __init__(self, name: str, token: Callable[[], Token], usage: Usage) -> None:
        """Name a caller.

        Args:
            name: The token's, for logs.
            token: What is known of it now; raises Unauthenticated once that is nothing.
            usage: What all calls with it hold.
        """
        self.name = name
        self._token = token
        self._usage = usage

    def has(self, right: Right) -> bool:
        """Say whether it has a right; raises Unauthenticated."""
        return right in self._token().rights

    def require(self, right: Right) -> None:
        """Refuse what it has no right to; raises Forbidden or Unauthenticated."""
        if not self.has(right):
            raise Forbidden(
                f"{self.name} has no right to this: it needs rights = [{right.value!r}] in the "
                "daemon's file of tokens."
            )

    def may_use(self, model: str) -> bool:
        """Say whether it may use a model or a pair; raises Unauthenticated."""
        models = self._token().models
        return models is None or model in models

    def require_model(self, model: str) -> None:
        """Refuse a model that it may not use; raises Forbidden or Unauthenticated."""
        models = self._token().models
        if models is not None and model not in models:
            raise Forbidden(
                f"{self.name} may not use model {model[:64]!r}, only {', '.join(sorted(models))}."
            )

    def stream(self) -> AbstractContextManager[None]:
        """Count a stream while it is open; raises LimitReached when it is entered."""
        return self._usage.stream(self._token().max_streams)

    def in_flight(self) -> "InFlightLimit | None":
        """Return what bounds its snippets now; None when nothing does."""
        most = self._token().max_in_flight
        return None if most is None else InFlightLimit(self._usage, most)


class InFlightLimit:
    """Bounds the unanswered snippets of a caller."""

    __slots__ = ("_most", "_usage")

    def __init__(self, usage: Usage, most: int) -> None:
        self._usage = usage
        self._most = most

    def check_room(self, count: int = 1) -> None:
        """Refuse snippets that are too many; raises LimitReached."""
        self._usage.check_room(count, self._most)

    def hold(self, scores: "asyncio.Future[Any]") -> None:
        """Count a snippet until it is answered."""
        self._usage.hold(scores)


_EVERYTHING = Token(sha256="0" * 64, rights=frozenset(Right))
ANYONE = Caller("anyone", lambda: _EVERYTHING, Usage())
"""Who calls where no tokens are asked for; may do all that is turned on."""

_CALLER: ContextVar[Caller] = ContextVar("tsnd_caller", default=ANYONE)


def set_caller(caller: Caller) -> None:
    """Say who makes the call that is being answered here."""
    _CALLER.set(caller)


def current_caller() -> Caller:
    """Return who makes the call that is being answered here."""
    return _CALLER.get()
