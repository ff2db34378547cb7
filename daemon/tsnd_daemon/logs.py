"""What a line of the log looks like: text for people, JSON for programs; on standard error."""

import json
import logging
from datetime import UTC, datetime

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_OWN = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName"}


def configure_logs(*, level: str, style: str) -> None:
    """Let everything be logged to standard error.

    Args:
        level: Least severe that is logged.
        style: text or json.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if style == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level, handlers=[handler])


class JsonLines(logging.Formatter):
    """One JSON object in one line for each record.

    It has time (RFC 3339, UTC), level, logger, message, traceback where there is one, and what
    was given as `extra`, such as request_id.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        time = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        extra = {key: value for key, value in record.__dict__.items() if key not in _OWN}
        return json.dumps({**extra, **line}, default=str)
