"""Which images a snippet is made of: the rule of TSN's Caffe test, `tools/eval_net.py`.

Image and flow numbers count from 1, as the files of dense_flow do.
"""

SNIPPETS_PER_VIDEO = 25


def snippet_ticks(
    count: int, *, stack_depth: int, snippets: int = SNIPPETS_PER_VIDEO
) -> tuple[int, ...]:
    """Say where the snippets of a video start.

    The step is floor((count - stack_depth) / (snippets - 1)). A video too short for a step
    of 1 is judged from its first snippet alone, that many times. All as in eval_net.py at
    yjxiong/temporal-segment-networks 2c5e5e7; only a single snippet, for which it divides
    by zero, is ours: the first.

    Args:
        count: Images of the video, or flow fields; at least 1.
        stack_depth: Consecutive ones per snippet: 1 for rgb.
        snippets: How many to draw.

    Returns:
        As many numbers of first images, ascending.
    """
    step = (count - stack_depth) // (snippets - 1) if snippets > 1 else 0
    return tuple(1 + max(step, 0) * place for place in range(snippets))


def stack_indices(tick: int, *, count: int, stack_depth: int) -> tuple[int, ...]:
    """Say which images a snippet is made of; past the end, the last one again (eval_net.py)."""
    return tuple(min(count, tick + offset) for offset in range(stack_depth))
