"""Version 1 of the contracts between builder, daemon and clients (generated from the protos)."""
