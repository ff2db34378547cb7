"""Client of a tsnd daemon: scores for the snippets of video streams.

Frames of video files are in `tsnd_client.video`, which needs the extra tsnd[video].
"""

from tsnd_client.client import AsyncClient, Client
from tsnd_client.consensus import mean_over_snippets, softmax, top_k
from tsnd_client.errors import (
    BadReply,
    CallFailed,
    ClientError,
    DaemonUnavailable,
    FrameMismatch,
    InputError,
    MissingExtra,
    ModelNotFound,
    OutputError,
    SnippetRejected,
    StreamInterrupted,
    VideoError,
)
from tsnd_client.jpeg import Jpeg
from tsnd_client.messages import ClassScore, SnippetScores, StreamResult
from tsnd_client.model_info import Modality, ModelInfo, ModelSummary, OutputInfo, Pair
from tsnd_client.reply import Reply
from tsnd_client.urgency import Priority

__all__ = [
    "AsyncClient",
    "BadReply",
    "CallFailed",
    "ClassScore",
    "Client",
    "ClientError",
    "DaemonUnavailable",
    "FrameMismatch",
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
    "SnippetRejected",
    "SnippetScores",
    "StreamInterrupted",
    "StreamResult",
    "VideoError",
    "mean_over_snippets",
    "softmax",
    "top_k",
]
