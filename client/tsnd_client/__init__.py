"""Client of a tsnd daemon: scores for the snippets of video streams.

Importing this package loads nothing: each name is fetched when it is first used, so that a
command that only prints its help, or a program that only needs `consensus`, does not wait for
gRPC and NumPy. Frames of videos are in `tsnd_client.sources`, optical flow in `tsnd_client.flow`;
both need the extra tsnd[video].
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tsnd_client.client import AsyncClient, Client
    from tsnd_client.connection import Tls
    from tsnd_client.consensus import mean_over_snippets, softmax, top_k
    from tsnd_client.errors import (
        BadReply,
        CallFailed,
        ClientError,
        CredentialsError,
        DaemonUnavailable,
        FlowFailed,
        FrameMismatch,
        InputError,
        MissingExtra,
        ModelNotFound,
        OutputError,
        RetriesExhausted,
        SnippetRejected,
        SourceLost,
        StreamInterrupted,
        VideoError,
    )
    from tsnd_client.health import Health
    from tsnd_client.jpeg import Jpeg
    from tsnd_client.messages import ClassScore, SnippetScores, StreamResult
    from tsnd_client.model_info import Modality, ModelInfo, ModelSummary, OutputInfo, Pair
    from tsnd_client.reply import Reply
    from tsnd_client.resilient import score_resiliently, score_resiliently_async
    from tsnd_client.retrying import Retrying
    from tsnd_client.urgency import Priority
else:
    _NAMES = {
        "client": "AsyncClient Client",
        "connection": "Tls",
        "consensus": "mean_over_snippets softmax top_k",
        "errors": "BadReply CallFailed ClientError CredentialsError DaemonUnavailable FlowFailed "
        "FrameMismatch InputError MissingExtra ModelNotFound OutputError RetriesExhausted "
        "SnippetRejected SourceLost StreamInterrupted VideoError",
        "health": "Health",
        "jpeg": "Jpeg",
        "messages": "ClassScore SnippetScores StreamResult",
        "model_info": "Modality ModelInfo ModelSummary OutputInfo Pair",
        "reply": "Reply",
        "resilient": "score_resiliently score_resiliently_async",
        "retrying": "Retrying",
        "urgency": "Priority",
    }
    _HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        """Fetch one of our names from the module that has it (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "AsyncClient",
    "BadReply",
    "CallFailed",
    "ClassScore",
    "Client",
    "ClientError",
    "CredentialsError",
    "DaemonUnavailable",
    "FlowFailed",
    "FrameMismatch",
    "Health",
    "InputError",
    "Jpeg",
    "MissingExtra",
    "Modality",
    "ModelInfo",
    "ModelNotFound",
    "ModelSummary",
    "OutputError",
    "OutputInfo",
    "Pair",
    "Priority",
    "Reply",
    "RetriesExhausted",
    "Retrying",
    "SnippetRejected",
    "SnippetScores",
    "SourceLost",
    "StreamInterrupted",
    "StreamResult",
    "Tls",
    "VideoError",
    "mean_over_snippets",
    "score_resiliently",
    "score_resiliently_async",
    "softmax",
    "top_k",
]
