"""Say what a video shows, by TSN's test protocol: 25 of its frames averaged, the five best classes.

python examples/classify_file.py video.mp4 kinetics_rgb [HOST:PORT]
"""

import sys
from pathlib import Path

from tsnd_client import top_k
from tsnd_client.videos.classify import classify
from tsnd_client.videos.protocol import Spread
from tsnd_client.videos.snippet import FailedVideo
from tsnd_client.videos.two_stream import video_scorer


def main(video: Path, model: str, target: str = "127.0.0.1:8001") -> None:
    """Score a video, and print what it shows."""
    with video_scorer(rgb=model, target=target) as scorer:
        for outcome in scorer.score([(video.name, video)], Spread()):
            if isinstance(outcome, FailedVideo):
                raise SystemExit(str(outcome.error))
            scores = classify(outcome, scorer).scores
            for index, probability in top_k(scores.probabilities, 5):
                print(f"{probability:6.1%}  {scorer.labels[index]}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
