import json
import logging
import sys

from tsnd_daemon.logs import JsonLines


def written(*, exc_info=None, **extra):
    logger = logging.getLogger("tsnd_daemon.x")
    record = logger.makeRecord(
        logger.name, logging.INFO, __file__, 1, "model %s is warm", ("m",), exc_info, extra=extra
    )
    record.created = 1_700_000_000.125
    return JsonLines().format(record)


def test_a_record_is_one_line_of_json():
    assert json.loads(written()) == {
        "time": "2023-11-14T22:13:20.125Z",
        "level": "INFO",
        "logger": "tsnd_daemon.x",
        "message": "model m is warm",
    }


def test_what_is_given_besides_is_a_field():
    assert json.loads(written(request_id="a1"))["request_id"] == "a1"


def test_what_is_given_besides_does_not_take_the_place_of_what_a_line_has():
    assert json.loads(written(level="none", logger="none"))["level"] == "INFO"


def test_a_traceback_stays_in_the_line():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = written(exc_info=sys.exc_info())

    assert "\n" not in line
    assert json.loads(line)["traceback"].endswith("ValueError: two\nlines")


def test_what_json_has_no_word_for_is_written_as_text():
    assert json.loads(written(where=logging))["where"].startswith("<module 'logging'")
