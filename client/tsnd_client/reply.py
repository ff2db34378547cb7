"""What a caller wants to have in results."""

from dataclasses import dataclass

from tsnd.v1 import model_pb2, snippets_pb2


@dataclass(frozen=True, slots=True)
class Reply:
    """What results hold; less of it costs both sides less.

    Attributes:
        outputs: Names of outputs, such as scores or features. Without any, and without
            `top_k`, results hold all of them in float32.
        top_k: How many of the best classes to name, best first; 0 names none.
        half: Whether outputs come in float16, which halves results and rounds to 11 bits.
    """

    outputs: tuple[str, ...] = ()
    top_k: int = 0
    half: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.outputs, str):  # type: ignore[unreachable] # but a likely slip
            raise ValueError(f"outputs must be names, got the text {self.outputs!r}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 or more, got {self.top_k}")

    def has(self, output: str) -> bool:
        """Return whether results hold an output."""
        return output in self.outputs or not (self.outputs or self.top_k)


EVERYTHING = Reply()
"""All outputs in float32."""


def to_reply_options(reply: Reply) -> snippets_pb2.ReplyOptions:
    """Convert to the message."""
    return snippets_pb2.ReplyOptions(
        outputs=reply.outputs,
        top_k=reply.top_k,
        data_type=model_pb2.DATA_TYPE_FLOAT16 if reply.half else model_pb2.DATA_TYPE_UNSPECIFIED,
    )
