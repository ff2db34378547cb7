"""Everything that tsnd_client raises on purpose.

ClientError
├── InputError           what was given cannot be used: change it, then try again
│   ├── CredentialsError   a certificate or token that cannot be used, or sent safely
│   ├── DetectionError     scores, proposals or settings that actions cannot be found with
│   ├── EvaluationError    results or annotations that cannot be evaluated
│   ├── FrameMismatch      pixels that the model does not take
│   ├── MissingExtra       a package of the extra tsnd[video] is not installed
│   ├── ModelNotFound      the daemon does not serve that model
│   ├── OutputError        a results file that cannot be written
│   ├── ReportError        a report that cannot be made or written
│   └── VideoError         a file that gives no frames
├── BadReply             the daemon broke the contract
├── CallFailed           the daemon ended a call with a status
├── DaemonUnavailable    nobody answered, or a daemon about to stop
├── FlowFailed           a process that computes flow ended on the way
├── RetriesExhausted     no daemon answered, however often it was tried
├── SnippetRejected      one snippet was not scored; in a stream a value, not a raise
├── SourceLost           a camera or network stream that ended, and stayed away
└── StreamInterrupted    a stream ended before its last reply
"""

import grpc

_REMEDIES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "Allow more with deadline_s or timeout_s, or lighten "
    "the daemon's load.",
    grpc.StatusCode.UNAUTHENTICATED: "Set TSND_TOKEN, or give token=...; whoever runs the daemon "
    "makes one with `tsnd token new`.",
    grpc.StatusCode.UNIMPLEMENTED: "Is it tsnd that listens there, of this client's version?",
}


class ClientError(Exception):
    """Base of every error of this package."""


class InputError(ClientError):
    """What was given cannot be used; the message says what would be."""


class CredentialsError(InputError):
    """A certificate or token that cannot be read, or would be sent for all to read."""


class DetectionError(InputError):
    """Scores, proposals or settings that actions cannot be found with."""


class EvaluationError(InputError):
    """Detections, annotations or their files that cannot be evaluated."""


class FrameMismatch(InputError):
    """Pixels of another shape or dtype than the model takes."""


class MissingExtra(InputError, ImportError):
    """A package that only the video functions need is not installed."""


class OutputError(InputError):
    """A results file of unknown format, or in a place that cannot be written."""


class ReportError(InputError):
    """A report of values that cannot be shown, or in a place that cannot be written."""


class VideoError(InputError):
    """A video file that is missing, empty, broken, or not a video."""


class FlowFailed(ClientError):
    """A process that computes optical flow ended, or failed, on the way."""


class SourceLost(ClientError):
    """A camera or network stream that gives no frames, after it was tried again and again."""


class ModelNotFound(InputError):
    """The daemon does not serve this model."""

    def __init__(self, model: str, target: str, message: str) -> None:
        super().__init__(model, target, message)
        self.model = model
        self.target = target
        self.message = message

    def __str__(self) -> str:
        return (
            f"the daemon at {self.target} does not serve model {self.model!r}: "
            f"{_sentence(self.message)} `tsn models` lists those that it does."
        )


class BadReply(ClientError):
    """A reply that the contract rules out: a fault of the daemon, not of the caller."""


class CallFailed(ClientError):
    """The daemon, or gRPC on the way to it, ended a call with a status."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        failure = f"the call failed with {self.code.name}: {_sentence(self.message)}"
        return f"{failure} {_REMEDIES.get(self.code, '')}".rstrip()


class DaemonUnavailable(ClientError):
    """No daemon answered at the target, or it said that it is about to stop."""

    def __init__(self, target: str, message: str) -> None:
        super().__init__(target, message)
        self.target = target
        self.message = message

    def __str__(self) -> str:
        return (
            f"no daemon serves at {self.target}: {_sentence(self.message)} Is tsnd running there?"
        )


class SnippetRejected(ClientError):
    """One snippet that was not scored, and why.

    `score` raises it; `score_stream` yields it in the snippet's place and goes on.

    Attributes:
        snippet_id: The id as it was sent.
        code: Why, as a gRPC status code.
        message: Why, in words.
        retry_after_s: When to send it again, seconds from then; None when that is no use
            or the daemon does not say. With RESOURCE_EXHAUSTED only.
    """

    def __init__(
        self,
        snippet_id: str,
        code: grpc.StatusCode,
        message: str,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(snippet_id, code, message, retry_after_s)
        self.snippet_id = snippet_id
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        failure = f"snippet {self.snippet_id!r} was rejected with {self.code.name}: {self.message}"
        if self.retry_after_s is None:
            return failure
        return f"{failure} Try again in {self.retry_after_s:.2g} s."


class StreamInterrupted(ClientError):
    """The daemon ended a stream that still had snippets to score."""

    def __init__(self, code: grpc.StatusCode, message: str, answered: int, unanswered: int) -> None:
        super().__init__(code, message, answered, unanswered)
        self.code = code
        self.message = message
        self.answered = answered
        self.unanswered = unanswered

    def __str__(self) -> str:
        return (
            f"the stream ended early with {self.code.name}: {_sentence(self.message)} "
            f"{self.answered} snippets were answered, {self.unanswered} sent ones were not. "
            "Send the rest in a new stream."
        )


class RetriesExhausted(ClientError):
    """Snippets were sent again and again, and nothing came back any more."""

    def __init__(self, patience_s: float, message: str) -> None:
        super().__init__(patience_s, message)
        self.patience_s = patience_s
        self.message = message

    def __str__(self) -> str:
        return (
            f"gave up after {self.patience_s:g} s in which no snippet was answered; the last try: "
            f"{self.message}"
        )


def _sentence(text: str) -> str:
    return f"{text.rstrip('. ') or 'no reason given'}."
