"""Say what a camera sees, as it sees it: the best class over the last two seconds of frames.

python examples/stream_camera.py rtsp://camera/stream kinetics_rgb [HOST:PORT]
python examples/stream_camera.py /dev/video0 kinetics_rgb    # a camera of this machine

A frame that cannot be scored within half a second is given up: it would be old news.
"""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import aclosing

import numpy as np
import numpy.typing as npt

from tsnd_client import (
    AsyncClient,
    Priority,
    SnippetRejected,
    mean_over_snippets,
    score_resiliently_async,
    softmax,
    top_k,
)
from tsnd_client.images import resize_bgr
from tsnd_client.in_flight import NamedPixels
from tsnd_client.model_info import ModelInfo
from tsnd_client.sources.open import open_source

EVERY = 6  # frames: about 4 snippets a second
ROLLING = 8  # snippets
MAX_AGE_S = 0.5


async def main(source: str, name: str, target: str = "127.0.0.1:8001") -> None:
    """Score what a camera sees until it ends."""
    recent: deque[npt.NDArray[np.floating]] = deque(maxlen=ROLLING)
    async with AsyncClient(target, max_in_flight=4) as client:
        model = await client.model(name)
        stream = score_resiliently_async(
            client,
            model,
            snippets(source, model),
            priority=Priority.REAL_TIME,
            timeout_s=MAX_AGE_S,
        )
        async with aclosing(stream) as results:
            async for result in results:
                if isinstance(result, SnippetRejected):
                    print(f"{result.snippet_id}  {result.code.name}", flush=True)
                    continue
                recent.append(result.scores)
                ((index, probability),) = top_k(softmax(mean_over_snippets(list(recent))), 1)
                print(f"{result.snippet_id}  {probability:.1%}  {model.labels[index]}", flush=True)


async def snippets(source: str, model: ModelInfo) -> AsyncIterator[NamedPixels]:
    """Take frames in a thread, so that results are not kept waiting meanwhile."""
    with open_source(source) as camera:
        frames = camera.frames(EVERY)
        while (frame := await asyncio.to_thread(next, frames, None)) is not None:
            pixels = resize_bgr(frame.bgr, model.frame_width, model.frame_height)
            yield f"{frame.index:06d}", pixels


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
