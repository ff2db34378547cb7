"""Who may call what, how much of it, and over which certificates."""
