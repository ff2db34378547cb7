"""Which models take traffic, from loading to retirement."""
