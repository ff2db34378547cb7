"""What `tsn top` shows: a daemon's metrics, read over and over."""
