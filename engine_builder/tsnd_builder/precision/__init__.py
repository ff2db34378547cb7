"""Lower precisions of a serving graph: where they may be used, and what they cost."""
