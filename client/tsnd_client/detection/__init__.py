"""Temporal action detection from the outputs of snippets: SSN and TAG, in NumPy alone.

Offline `Detector`, for a running video `OnlineDetector`; the other names are their steps.
"""

from tsnd_client.detection.actionness import actionness_curve, merge_actionness
from tsnd_client.detection.detection import Detection
from tsnd_client.detection.detector import Detector
from tsnd_client.detection.head import Head, Linear, RegressionStatistics, reorganise
from tsnd_client.detection.nms import suppress
from tsnd_client.detection.online import OnlineDetector, OnlineSettings, Update
from tsnd_client.detection.pooling import pool_proposals
from tsnd_client.detection.proposals import relative_proposals, usable_proposals
from tsnd_client.detection.pyramid import Pyramid
from tsnd_client.detection.scores import ProposalScores, fuse
from tsnd_client.detection.select import Selection, align_class_scores, select
from tsnd_client.detection.settings import (
    ACTIVITYNET12,
    THUMOS14,
    THUMOS14_LABELS,
    SsnSettings,
    settings_of,
)
from tsnd_client.detection.sliding_windows import sliding_windows
from tsnd_client.detection.tag import TagProposals, TagSettings, propose

__all__ = [
    "ACTIVITYNET12",
    "THUMOS14",
    "THUMOS14_LABELS",
    "Detection",
    "Detector",
    "Head",
    "Linear",
    "OnlineDetector",
    "OnlineSettings",
    "ProposalScores",
    "Pyramid",
    "RegressionStatistics",
    "Selection",
    "SsnSettings",
    "TagProposals",
    "TagSettings",
    "Update",
    "actionness_curve",
    "align_class_scores",
    "fuse",
    "merge_actionness",
    "pool_proposals",
    "propose",
    "relative_proposals",
    "reorganise",
    "select",
    "settings_of",
    "sliding_windows",
    "suppress",
    "usable_proposals",
]
