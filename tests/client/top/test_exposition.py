import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Gauge, generate_latest

from tests.streams import samples
from tsnd_client.errors import BadReply, DaemonUnavailable, InputError
from tsnd_client.top.exposition import Scrape, metrics_url, parse, scrape


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20),
        st.floats(allow_nan=False),
        max_size=5,
    )
)
def test_what_prometheus_own_library_writes_is_read(values):
    registry = CollectorRegistry()
    gauge = Gauge("tsnd_thing", "A\nthing.", ["name", "other"], registry=registry)
    for name, value in values.items():
        gauge.labels(name, 'a,b="c"}').set(value)

    found = parse(generate_latest(registry).decode()).get("tsnd_thing", ())

    assert {sample.labels["name"]: sample.value for sample in found} == values
    assert all(sample.labels["other"] == 'a,b="c"}' for sample in found)


@pytest.mark.parametrize(
    "line", ["<html>", "name", "name{a=1} 1", 'name{a="1} 1', "name one", 'name{a="1"b="2"} 1']
)
def test_what_is_no_metric_is_refused(line):
    with pytest.raises(ValueError, match=r"no sample|no labels|could not convert"):
        parse(f"tsnd_streams 1\n{line}\n")


def test_a_metric_is_added_up_over_the_samples_that_have_some_labels():
    text = 'n{model="a",le="1"} 1\nn{model="a",le="2"} 2\nn{model="b",le="1"} 4\n'
    found = Scrape(0.0, parse(text))

    assert found.total("n") == 7
    assert found.total("n", model="a") == 3
    assert found.total("n", model="c") == found.total("other") == 0


@pytest.mark.parametrize("address", ["127.0.0.1:8002", "http://127.0.0.1:8002/metrics"])
def test_an_address_may_be_short(address):
    assert metrics_url(address) == "http://127.0.0.1:8002/metrics"


@pytest.mark.parametrize("address", ["", ":1", "host:port", "file:///etc/passwd", "host:99999"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="is no address of metrics: give HOST:PORT"):
        metrics_url(address)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"\xff", "does not answer with metrics"),
        (b"<html></html>", "does not answer with metrics"),
        (b"process_cpu_seconds_total 1\n", "none of tsnd"),
        (b"a" * (16 * 1024 * 1024 + 1), "more than 16777216 bytes"),
    ],
)
def test_who_answers_with_something_else_is_told(serve_http, body, complaint):
    with pytest.raises(BadReply, match=complaint):
        scrape(serve_http(body), timeout_s=5.0)


def test_who_does_not_answer_is_told():
    with pytest.raises(DaemonUnavailable, match="Is tsnd running there"):
        scrape("http://127.0.0.1:1/metrics", timeout_s=5.0)


def test_samples_of_a_server_are_read(serve_http):
    url = serve_http(b'tsnd_streams 2\ntsnd_pending_snippets{model="m",version="1"} 3\n')

    assert scrape(url, timeout_s=5.0).total("tsnd_pending_snippets", model="m") == 3
    assert samples(url)["tsnd_streams",] == 2
