import pytest
import typer

from tests.bench_arguments import bench_arguments
from tsnd_client import InputError, Priority, Reply
from tsnd_client.bench.plan import to_plan
from tsnd_client.bench.streams import StreamKind
from tsnd_client.reply import EVERYTHING


def plan_of(*arguments):
    return to_plan(bench_arguments("--model", "m", *arguments))


def test_a_rate_makes_an_open_loop():
    plan = plan_of("--rate", "40")

    assert (plan.is_open, plan.rates) == (True, (40.0,))
    assert plan.kinds == (StreamKind(count=16),)


def test_in_flight_makes_a_closed_loop():
    plan = plan_of("--in-flight", "4", "--streams", "2")

    assert (plan.is_open, plan.rates) == (False, ())
    assert plan.kinds == (StreamKind(count=2, in_flight=4),)


def test_a_sweep_has_a_run_for_each_rate():
    assert plan_of("--sweep", "10,20,40.5").rates == (10.0, 20.0, 40.5)


def test_streams_with_rates_need_no_total():
    plan = plan_of("--stream", "count=8,rate=5", "--stream", "rate=2,priority=bulk")

    assert plan.rates == (42.0,)
    assert [kind.priority for kind in plan.kinds] == [Priority.NORMAL, Priority.BULK]


def test_streams_have_what_stands_beside_them_as_defaults():
    (kind,) = plan_of("--stream", "rate=5", "--group", "4", "--timeout-ms", "50").kinds

    assert kind == StreamKind(count=1, rate=5.0, group=4, timeout_ms=50.0)


def test_a_search_begins_at_the_rate_that_is_given():
    assert plan_of("--find-rate", "--p99-ms", "50", "--rate", "30").rates == (30.0,)
    assert plan_of("--find-rate", "--p99-ms", "50").rates == (10.0,)


def test_results_hold_everything_unless_less_is_asked_for():
    assert plan_of("--rate", "1").reply is EVERYTHING
    asked = plan_of("--rate", "1", "--top-k", "5", "--outputs", "scores", "--half").reply
    assert asked == Reply(outputs=("scores",), top_k=5, half=True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "how much load?"),
        (["--stream", "count=4"], "how much load?"),
        (["--stream", "rate=4", "--stream", "count=4"], "some --stream have no rate"),
        (["--rate", "1", "--in-flight", "2"], "--in-flight and --rate exclude one another"),
        (["--sweep", "1,2", "--in-flight", "2"], "--in-flight and --sweep exclude one another"),
        (["--sweep", "1,2", "--rate", "2"], "--sweep and --rate exclude one another"),
        (["--find-rate"], "--p99-ms"),
        (["--rate", "1", "--p99-ms", "5"], "--p99-ms goes with --find-rate"),
        (["--in-flight", "2", "--stream", "rate=4"], "closed loop, whose streams have no rate"),
        (["--rate", "1", "--streams", "2", "--stream", "count=4"], "leave it or --stream out"),
        (["--rate", "1", "--protocol", "kserve", "--payload", "jpeg"], "no --payload jpeg"),
        (["--rate", "1", "--protocol", "kserve", "--top-k", "5"], "no --top-k"),
        (["--rate", "1", "--duration-s", "0"], "--duration-s must be more than 0"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(arguments, complaint):
    with pytest.raises(InputError) as caught:
        plan_of(*arguments)

    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--rate", "fast"], "expected a number above 0, got 'fast'"),
        (["--rate", "-1"], "expected a number above 0, got '-1'"),
        (["--sweep", "10,,20"], "expected a number above 0, got ''"),
        (["--in-flight", "0"], "expected a whole number of at least 1, got '0'"),
        (["--group", "1.5"], "expected a whole number of at least 1, got '1.5'"),
        (["--warm-up-s", "-1"], "expected a number of at least 0, got '-1'"),
        (["--priority", "high"], "expected real-time or normal or bulk, got 'high'"),
        (["--payload", "png"], "expected raw or jpeg or shared, got 'png'"),
        (["--arrivals", "bursts"], "expected poisson or constant, got 'bursts'"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_is_expected(arguments, complaint):
    with pytest.raises(typer.BadParameter) as caught:
        plan_of(*arguments)

    assert caught.value.exit_code == 2
    assert complaint in caught.value.format_message()
