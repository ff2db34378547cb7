"""Say what a video shows: scores of 25 of its frames, their mean, the five best classes.

python examples/classify_file.py video.mp4 kinetics_rgb [HOST:PORT]
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from tsnd_client import Client, SnippetScores, mean_over_snippets, score_resiliently, softmax, top_k
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.model_info import ModelInfo
from tsnd_client.sources.video_file import VideoFile, probe

SNIPPETS = 25


def main(video: Path, name: str, target: str = "127.0.0.1:8001") -> None:
    """Score a video, and print what it shows."""
    with Client(target) as client:
        model = client.model(name)
        results = score_resiliently(client, model, snippets(video, model))
        scores = [result.scores for result in results if isinstance(result, SnippetScores)]
    probabilities = softmax(mean_over_snippets(scores))
    for index, probability in top_k(probabilities, 5):
        print(f"{probability:6.1%}  {model.labels[index]}")


def snippets(video: Path, model: ModelInfo) -> Iterator[NamedPixels]:
    """Take frames at equal distances, in the size that the model wants."""
    stride = max(1, (probe(video).frames or SNIPPETS) // SNIPPETS)
    for frame in VideoFile(video).frames(stride):
        pixels = resize_bgr(frame.bgr, model.frame_width, model.frame_height)
        yield f"{video.name}/{frame.index}", pixels


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
