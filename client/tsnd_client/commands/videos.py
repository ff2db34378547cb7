"""What the commands for whole videos have in common: how they fail, and what they refuse."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsnd_client.errors import ClientError, InputError, SnippetRejected

if TYPE_CHECKING:
    from tsnd_client.fusion import FusionWeights
    from tsnd_client.videos.protocol import Spread
    from tsnd_client.videos.snippet import FailedVideo


def complain(failed: "FailedVideo") -> None:
    """Say on stderr why a video gave no result."""
    text = str(failed.error)
    # Most messages name the video already.
    print(
        f"tsn: error: {text if failed.name in text else f'{failed.name}: {text}'}", file=sys.stderr
    )


def warn_of_wait(reason: ClientError, wait_s: float) -> None:
    """Say on stderr that the daemon is waited for, unless it lacks room only, which is nothing."""
    if not isinstance(reason, SnippetRejected):
        print(f"tsn: warning: {reason} Trying again in {wait_s:.1f} s.", file=sys.stderr)


def exit_status(failed: Sequence["FailedVideo"], videos: int) -> int:
    """Return 0 when no video failed, 2 when all did for what they are, and 1 otherwise."""
    if not failed:
        return 0
    are_unusable = all(isinstance(each.error, InputError) for each in failed)
    return 2 if are_unusable and len(failed) == videos else 1


def to_fusion_weights(weights: tuple[float, float]) -> "FusionWeights":
    """Check what `--weights` was given.

    Raises:
        InputError: They cannot be weights.
    """
    from tsnd_client.fusion import FusionWeights  # noqa: PLC0415 -- see the package

    try:
        return FusionWeights(*weights)
    except ValueError as err:
        raise InputError(f"--weights: {err}.") from err


def to_spread(snippets: int, rule: str) -> "Spread":
    """Check what `--snippets` and `--rule` were given.

    Raises:
        InputError: The rule cannot spread so many.
    """
    from tsnd_client.videos.protocol import Rule, Spread  # noqa: PLC0415 -- see the package

    try:
        return Spread(snippets, Rule(rule))
    except ValueError as err:
        raise InputError(f"--snippets: {err} by the rule {rule}.") from err
