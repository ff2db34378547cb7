"""What can go wrong in the daemon, and the gRPC status that each becomes.

    DaemonError
    ├── RequestError          answered to the client, and only to it
    │   ├── InvalidRequest    INVALID_ARGUMENT    a message that asks for what cannot be
    │   ├── InvalidSnippet    INVALID_ARGUMENT    does not fit its model
    │   ├── RegionRefused     INVALID_ARGUMENT    shared memory that cannot be used
    │   ├── ModelNotFound     NOT_FOUND           no such model or version here
    │   ├── QueueFull         RESOURCE_EXHAUSTED  more work than the bounds allow
    │   ├── DeadlineExpired   DEADLINE_EXCEEDED   dropped before it cost compute
    │   ├── Draining          UNAVAILABLE         the daemon is about to stop
    │   ├── ModelLost         UNAVAILABLE         its executor is gone
    │   ├── ExecutionFailed   INTERNAL            the batch failed; details are in the log
    │   ├── Unauthenticated   UNAUTHENTICATED     no token, or none that is valid
    │   ├── Forbidden         PERMISSION_DENIED   a token without the right to this
    │   ├── LimitReached      RESOURCE_EXHAUSTED  more at a time than one may hold
    │   ├── ControlRefused    FAILED_PRECONDITION models cannot be changed so
    │   └── NotSupported      UNIMPLEMENTED       a call of a protocol that is not answered here
    ├── StartError            ends the start with exit status 2
    │   ├── SettingsError     a setting that is wrong or does not fit the others
    │   ├── PackageError      a model package that cannot be served
    │   └── AddressError      a port that cannot be bound
    └── ExecutorLost          an executor that cannot go on; ends the process

A message for a client says what came, what was expected and what to do, and nothing of
the daemon's inside.
"""

from typing import ClassVar

import grpc


class DaemonError(Exception):
    """Base of everything the daemon reports."""


class RequestError(DaemonError):
    """A request that is refused or failed; carries the status that the client gets."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL

    def forget_frames(self) -> None:
        """Let go of where it was raised, once it is answered.

        Those frames hold the snippet, whose future holds this error: pixels would stay in
        memory until the garbage collector finds the cycle.
        """
        self.__traceback__ = None


class InvalidRequest(RequestError):
    """A message that asks for something which cannot be."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidSnippet(RequestError):
    """A snippet that does not fit its model."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class RegionRefused(RequestError):
    """Shared memory that cannot be used."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class ModelNotFound(RequestError):
    """A model or version that is not served here."""

    code = grpc.StatusCode.NOT_FOUND


class QueueFull(RequestError):
    """A model whose queue has reached its bound.

    Attributes:
        retry_after_ns: When there is likely to be room, from now.
    """

    code = grpc.StatusCode.RESOURCE_EXHAUSTED

    def __init__(self, message: str, *, retry_after_ns: int) -> None:
        super().__init__(message)
        self.retry_after_ns = retry_after_ns


class DeadlineExpired(RequestError):
    """A snippet whose deadline passed while it waited."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Draining(RequestError):
    """New work while the daemon is about to stop."""

    code = grpc.StatusCode.UNAVAILABLE


class ModelLost(RequestError):
    """A model whose executor is gone."""

    code = grpc.StatusCode.UNAVAILABLE


class Unauthenticated(RequestError):
    """A call without a token, or with one that is not valid."""

    code = grpc.StatusCode.UNAUTHENTICATED


class Forbidden(RequestError):
    """A call with a token that has no right to it."""

    code = grpc.StatusCode.PERMISSION_DENIED


class LimitReached(RequestError):
    """More at a time than a token, or all clients together, may hold."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class ControlRefused(RequestError):
    """A change of models that is not allowed or failed; what was served goes on."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class NotSupported(RequestError):
    """A call of a protocol that is spoken here only in part."""

    code = grpc.StatusCode.UNIMPLEMENTED


class ExecutionFailed(RequestError):
    """A batch that the executor could not run."""

    code = grpc.StatusCode.INTERNAL


class StartError(DaemonError):
    """A reason not to start."""


class SettingsError(StartError):
    """A setting that is wrong, or does not fit the others."""


class PackageError(StartError):
    """A model package that cannot be served."""


class AddressError(StartError):
    """An address that cannot be bound."""


class ExecutorLost(DaemonError):
    """An executor that cannot go on, such as after a sticky device error."""
