from tsnd_daemon.model_statistics import ModelStatistics, Tally


def test_tallies_add_up():
    tally = Tally()
    tally.add(5)
    tally.add(10, 3)

    assert tally == Tally(count=4, ns=15)


def test_each_snippet_of_a_batch_has_been_computed_for_all_of_its_time():
    statistics = ModelStatistics()
    statistics.note_execution(4, compute_ns=100, queue_ns=40)
    statistics.note_execution(4, compute_ns=50, queue_ns=8)
    statistics.note_execution(1, compute_ns=30, queue_ns=2)

    assert statistics.executions == 3
    assert statistics.compute == Tally(count=9, ns=630)
    assert statistics.queue == Tally(count=9, ns=50)
    assert statistics.by_batch_size == {4: Tally(2, 150), 1: Tally(1, 30)}
    assert statistics.last_ms > 0
