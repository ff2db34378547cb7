import asyncio

from tsnd_client import Priority
from tsnd_client.bench.ledger import Answered, Ledger, Refused, Ticket, merged

SECOND = 1_000_000_000


def ledger_with(*outcomes, due_ns=SECOND, priority=Priority.NORMAL, timeout_ms=None):
    """A ledger from second 1 to 3 in which each outcome came 40 ms after it was due."""
    ledger = Ledger(from_ns=SECOND, until_ns=3 * SECOND)
    account = ledger.account(priority, due_ns)
    account.due = account.sent = len(outcomes)
    ticket = Ticket(due_ns, len(outcomes), account, timeout_ms)
    for outcome in outcomes:
        ledger.settle(ticket, outcome, due_ns + 40_000_000)
    return ledger


def test_accounts_close_when_each_snippet_has_one_outcome():
    ledger = ledger_with(Answered(), Refused("INTERNAL"), Refused("INTERNAL"))
    account = ledger.accounts[Priority.NORMAL]

    assert account.closes
    assert (account.answered, account.refused) == (1, {"INTERNAL": 2})


def test_accounts_do_not_close_when_an_outcome_is_missing_or_there_is_one_too_many():
    account = ledger_with(Answered()).accounts[Priority.NORMAL]

    account.sent = account.due = 2
    assert not account.closes
    account.sent = 0
    assert not account.closes


def test_latency_counts_from_when_a_snippet_was_due():
    account = ledger_with(Answered(queue_ns=5_000, compute_ns=7_000)).accounts[Priority.NORMAL]

    assert account.latency.maximum == 40_000
    assert (account.queue.maximum, account.compute.maximum) == (5, 7)


def test_what_was_due_during_the_warm_up_is_not_counted():
    assert ledger_with(Answered(), due_ns=SECOND - 1).accounts == {}


def test_throughput_is_what_came_while_measuring_lasted():
    assert ledger_with(Answered()).finished == 1
    assert ledger_with(Answered(), due_ns=SECOND - 1).finished == 1
    assert ledger_with(Answered(), due_ns=3 * SECOND - 1).finished == 0


def test_an_answer_after_the_timeout_is_late():
    assert ledger_with(Answered(), timeout_ms=39.9).accounts[Priority.NORMAL].late == 1
    assert ledger_with(Answered(), timeout_ms=40.1).accounts[Priority.NORMAL].late == 0


def test_the_last_outcome_of_a_message_frees_its_place():
    slot = asyncio.Semaphore(0)
    ledger = Ledger(from_ns=0, until_ns=SECOND)
    ticket = Ticket(0, 2, ledger.account(Priority.NORMAL, 0), slot=slot)

    ledger.settle(ticket, Answered(), 1)
    assert slot.locked()
    ledger.settle(ticket, Refused("INTERNAL"), 1)
    assert not slot.locked()


def test_latencies_are_kept_second_by_second():
    ledger = ledger_with(Answered(), due_ns=2 * SECOND)

    assert list(ledger.accounts[Priority.NORMAL].seconds) == [1]


def test_merged_accounts_add_up():
    first = ledger_with(Answered(batch_size=2), Answered(batch_size=2)).accounts
    second = ledger_with(Refused("INTERNAL"), priority=Priority.BULK).accounts

    total = merged([*first.values(), *second.values()])

    assert (total.due, total.sent, total.answered) == (3, 3, 2)
    assert total.refused == {"INTERNAL": 1}
    assert total.batches == {2: 2}
    assert total.closes
