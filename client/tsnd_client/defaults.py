"""What clients and commands do unless they are told otherwise; loads nothing."""

DEFAULT_TARGET = "127.0.0.1:8001"
DEFAULT_MAX_IN_FLIGHT = 16
DEFAULT_DEADLINE_S = 30.0
DEFAULT_PATIENCE_S = 60.0
