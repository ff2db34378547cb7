from dataclasses import replace

from tsnd_daemon.scheduling.decide import Close, Wait, decide
from tsnd_daemon.settings import BatchPolicy

POLICY = BatchPolicy(max_batch_size=4, max_queue_delay_us=2_000, max_queue_size=8)
MS = 1_000_000


def ask(*, pending, oldest_ns=0, now_ns=0, is_idle=True, has_room=True, policy=POLICY):
    return decide(
        pending=pending,
        oldest_ns=oldest_ns,
        now_ns=now_ns,
        is_idle=is_idle,
        has_room=has_room,
        policy=policy,
    )


def test_an_empty_queue_waits_for_a_snippet():
    assert ask(pending=0) == Wait(ns=None)


def test_a_batch_closes_when_its_oldest_has_waited_max_queue_delay():
    assert ask(pending=2, now_ns=2 * MS - 1) == Wait(ns=1)
    assert ask(pending=2, now_ns=2 * MS) == Close(size=2)


def test_a_full_batch_closes_at_once():
    assert ask(pending=4) == Close(size=4)
    assert ask(pending=7) == Close(size=4)


def test_a_busy_executor_gets_only_full_batches():
    assert ask(pending=3, now_ns=60 * MS, is_idle=False) == Wait(ns=None)
    assert ask(pending=4, is_idle=False) == Close(size=4)


def test_no_batch_closes_while_no_executor_takes_one():
    assert ask(pending=8, now_ns=60 * MS, is_idle=False, has_room=False) == Wait(ns=None)


def test_a_preferred_size_does_not_wait_for_company_but_a_longer_wait_takes_all():
    policy = replace(POLICY, max_batch_size=8, preferred_batch_sizes=(2, 4))

    assert ask(pending=1, policy=policy) == Wait(ns=2 * MS)
    assert [ask(pending=n, policy=policy).size for n in (2, 3, 4, 7)] == [2, 2, 4, 4]
    assert ask(pending=7, now_ns=2 * MS, policy=policy) == Close(size=7)
    assert ask(pending=4, is_idle=False, policy=policy) == Wait(ns=None)
