"""What runs batches: one file per runtime, all behind one Protocol."""
