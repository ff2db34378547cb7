"""`tsn flow`: compute the optical flow of videos, as images that TSN's tools read."""

from pathlib import Path
from typing import Annotated

import typer

from tsnd_client.commands.values import Size, one_of, to_positive, to_size, to_whole


def flow(
    *,
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEO...", help="Video files to compute the flow of.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Write DIR/NAME/img_, flow_x_ and flow_y_ images, of each NAME.mp4 or the like.",
        ),
    ],
    algorithm: Annotated[
        str,
        typer.Option(
            "--algorithm",
            parser=one_of("tvl1", "dis", "farneback"),
            metavar="tvl1|dis|farneback",
            help="tvl1 is what TSN's networks are trained on; the others are much faster, and "
            "give them flow that they do not know. See docs/flow.md.",
        ),
    ] = "tvl1",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            parser=to_whole,
            metavar="N",
            show_default="one for each processor",
            help="Processes that compute; each uses one thread.",
        ),
    ] = None,
    size: Annotated[
        Size | None,
        typer.Option(
            "--size",
            parser=to_size,
            metavar="WIDTHxHEIGHT",
            show_default="340x256",
            help="Scale frames to this size first, as TSN does; 0x0 leaves them as they are.",
        ),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            "--bound",
            parser=to_positive,
            metavar="PIXELS",
            help="Largest displacement to tell apart. TSN's networks expect 20.",
        ),
    ] = 20.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON per video, not text.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> int:
    """Compute the optical flow of video files, as dense_flow does.

    What is there already is left alone, so a run that was interrupted is gone on with by the
    same command.
    """
    from tsnd_client.flow_videos import Job, run  # noqa: PLC0415 -- needs an extra

    return run(
        Job(
            videos=videos,
            out=out,
            algorithm=algorithm,
            workers=workers,
            size=size,
            bound=bound,
            json=json,
            quiet=quiet,
        )
    )
