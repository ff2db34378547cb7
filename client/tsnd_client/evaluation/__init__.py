"""Evaluation of temporal detection by the protocols of THUMOS14 and ActivityNet: pure NumPy.

Plots are in `tsnd_client.evaluation.plots`, which needs the extra tsnd[plots].
"""

from tsnd_client.evaluation.activitynet import read_activitynet, read_results
from tsnd_client.evaluation.annotations import Annotation, to_ground_truth
from tsnd_client.evaluation.average_precision import average_precision
from tsnd_client.evaluation.average_recall import RecallCurve, average_recall
from tsnd_client.evaluation.columns import GroundTruth, Predictions, Unit
from tsnd_client.evaluation.evaluate import Evaluation, evaluate
from tsnd_client.evaluation.ground_truth import read_ground_truth
from tsnd_client.evaluation.indexing import LeftOut, in_unit, index_detections
from tsnd_client.evaluation.ordering import Ties
from tsnd_client.evaluation.proposal_list import (
    ListedInstance,
    ListedProposal,
    ListedVideo,
    listed_ground_truth,
    read_proposal_list,
    to_frames,
)
from tsnd_client.evaluation.protocols import PROTOCOLS, Protocol, PublishedResult
from tsnd_client.evaluation.thumos14 import read_durations, read_thumos14

__all__ = [
    "PROTOCOLS",
    "Annotation",
    "Evaluation",
    "GroundTruth",
    "LeftOut",
    "ListedInstance",
    "ListedProposal",
    "ListedVideo",
    "Predictions",
    "Protocol",
    "PublishedResult",
    "RecallCurve",
    "Ties",
    "Unit",
    "average_precision",
    "average_recall",
    "evaluate",
    "in_unit",
    "index_detections",
    "listed_ground_truth",
    "read_activitynet",
    "read_durations",
    "read_ground_truth",
    "read_proposal_list",
    "read_results",
    "read_thumos14",
    "to_frames",
    "to_ground_truth",
]
