import pytest

from tsnd_client import InputError, Priority
from tsnd_client.bench.streams import (
    StreamKind,
    closed_feeds,
    open_feeds,
    parse_kind,
    total_rate,
)


def test_streams_are_read_from_text():
    kind = parse_kind("count=8, rate=5,priority=bulk,group=4,timeout_ms=200", StreamKind())

    assert kind == StreamKind(
        count=8, rate=5.0, priority=Priority.BULK, group=4, timeout_ms=200.0, in_flight=1
    )


def test_what_is_not_named_has_its_default():
    default = StreamKind(group=3, priority=Priority.REAL_TIME)

    assert parse_kind("rate=2", default) == StreamKind(
        rate=2.0, group=3, priority=Priority.REAL_TIME
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected KEY=VALUE with commas between, got ''"),
        ("count", "got 'count'"),
        ("colour=red", "Keys: count, rate, priority, group, timeout_ms, in_flight"),
        ("count=0", "count must be a whole number of at least 1, got '0'"),
        ("count=2.5", "count must be a whole number of at least 1, got '2.5'"),
        ("rate=-1", "rate must be a number above 0, got '-1'"),
        ("rate=inf", "rate must be a number above 0, got 'inf'"),
        ("rate=nan", "rate must be a number above 0, got 'nan'"),
        ("timeout_ms=soon", "timeout_ms must be a number above 0, got 'soon'"),
        ("priority=high", "priority must be real-time or normal or bulk, got 'high'"),
        ("count=1,count=2", "count is given twice"),
    ],
)
def test_text_that_makes_no_sense_is_refused_with_what_would(text, complaint):
    with pytest.raises(InputError, match=r"--stream .*") as caught:
        parse_kind(text, StreamKind())

    assert complaint in str(caught.value)


def test_a_total_is_divided_in_proportion():
    kinds = [StreamKind(count=2, rate=5.0), StreamKind(rate=30.0, group=4)]

    feeds = open_feeds(kinds, 80.0)

    assert [feed.messages_per_s for feed in feeds] == pytest.approx([10, 10, 60 / 4])
    assert [feed.index for feed in feeds] == [0, 1, 2]


def test_streams_without_a_rate_have_equal_shares():
    feeds = open_feeds([StreamKind(count=4, group=2)], 80.0)

    assert [feed.messages_per_s for feed in feeds] == [10.0] * 4


def test_the_rates_of_streams_add_up():
    assert total_rate([StreamKind(count=8, rate=5.0), StreamKind(rate=2.0)]) == 42


def test_streams_of_which_some_have_no_rate_have_no_total():
    with pytest.raises(InputError, match="give each rate="):
        total_rate([StreamKind(rate=5.0), StreamKind()])


@pytest.mark.parametrize(("in_flight", "group", "messages"), [(16, 8, 2), (4, 8, 1), (1, 1, 1)])
def test_what_may_be_in_flight_is_counted_in_messages(in_flight, group, messages):
    (feed,) = closed_feeds([StreamKind(in_flight=in_flight, group=group)])

    assert feed.messages_in_flight == messages


def test_a_closed_loop_has_no_rates():
    with pytest.raises(InputError, match="closed loop"):
        closed_feeds([StreamKind(rate=5.0)])
