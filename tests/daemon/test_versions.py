import pytest

from tsnd_daemon.versions import VersionPolicy, parse_version_policy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latest", VersionPolicy(latest=1)),
        ("latest:3", VersionPolicy(latest=3)),
        ("all", VersionPolicy()),
        ("specific:3,1", VersionPolicy(specific=frozenset({1, 3}))),
    ],
)
def test_a_policy_is_read(text, expected):
    assert parse_version_policy(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "latest:", "latest:0", "latest:-1", "latest:01", "latest:1\n", "latest:\u0661"),
        *("newest", "ALL", "all ", "specific:", "specific:0", "specific:1,", "specific:1, 2"),
    ],
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(ValueError, match="expected latest:N, all or specific:N,N"):
        parse_version_policy(text)


@pytest.mark.parametrize(
    ("policy", "found", "chosen"),
    [
        ("latest:1", [2, 10, 9], [10]),
        ("latest:2", [2, 10, 9], [9, 10]),
        ("latest:9", [2, 1], [1, 2]),
        ("latest:1", [], []),
        ("all", [3, 1, 2], [1, 2, 3]),
        ("specific:3,1,7", [3, 1, 2], [1, 3]),
        ("specific:7", [1], []),
    ],
)
def test_a_policy_chooses_in_ascending_order_among_what_there_is(policy, found, chosen):
    assert parse_version_policy(policy).choose(found) == chosen


@pytest.mark.parametrize("text", ["latest:2", "all", "specific:1,10,9"])
def test_a_policy_that_is_written_can_be_read_again(text):
    policy = parse_version_policy(text)

    assert parse_version_policy(str(policy)) == policy
