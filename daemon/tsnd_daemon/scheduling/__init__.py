"""Who runs next: the queue of a model, its batches, its share of a device."""
