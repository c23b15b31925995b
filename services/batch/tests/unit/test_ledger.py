from collections.abc import Iterator

import pytest

from millrace.core.errors import FatalError
from millrace_batch.logic.ledger import MOST_DEATHS, Ledger
from millrace_batch.logic.progress import Progress
from millrace_batch.logic.splits import Done, Split


def split(number: int) -> Split:
    return Split("years.parquet", number * 10, (number, number + 1), 100, "stamp")


def done(of: Split) -> Done:
    return Done(of.id, of.path, of.first_row, 10, 8, 1, 1, of.bytes, "")


def test_splits_are_handed_out_once_and_read_on_demand() -> None:
    taken: list[int] = []

    def plan() -> Iterator[Split]:
        for number in range(1_000_000_000):
            taken.append(number)
            yield split(number)

    ledger = Ledger(plan(), {})
    assert [ledger.next_for(worker) for worker in range(2)] == [split(0), split(1)]
    assert taken == [0, 1]


def test_what_an_earlier_run_finished_is_not_done_again() -> None:
    changed = split(7)
    ledger = Ledger(iter([split(0), split(1)]), {each.id: done(each) for each in (split(0), changed)})
    assert ledger.next_for(0) == split(1)
    assert ledger.next_for(1) is None
    assert ledger.finished == [done(split(0))]
    assert ledger.totals.read == 10


def test_the_split_of_a_dead_worker_goes_to_another() -> None:
    ledger = Ledger(iter([split(0), split(1)]), {})
    ledger.next_for(0)
    assert ledger.died(0) == split(0)
    assert ledger.next_for(1) == split(0)
    ledger.done(1, done(split(0)))
    assert ledger.next_for(1) is not None
    assert (ledger.totals.read, ledger.totals.scored, ledger.totals.refused) == (10, 8, 1)


def test_a_split_that_kills_whoever_takes_it_ends_the_job_with_its_name() -> None:
    ledger = Ledger(iter([split(4)]), {})
    for death in range(MOST_DEATHS):
        ledger.next_for(death)
        if death < MOST_DEATHS - 1:
            ledger.died(death)
    with pytest.raises(FatalError, match=r"3 workers died of years.parquet from row 40 on"):
        ledger.died(MOST_DEATHS - 1)


def test_a_worker_that_died_idle_had_nothing() -> None:
    assert Ledger(iter([]), {}).died(0) is None


def test_the_same_rows_have_the_same_part_and_a_changed_file_has_another() -> None:
    assert split(1).id == split(1).id
    assert split(1).id != split(2).id
    assert split(1).id != Split("years.parquet", 10, (1, 2), 100, "other").id


def progress(**more: object) -> Progress:
    fields = {"started_at": 0.0, "updated_at": 100.0, "working_secs": 50.0, "read": 500, "scored": 400, "filtered": 60}
    return Progress.of({**fields, "refused": 40, "done_bytes": 250, "total_bytes": 1000, "is_complete": False, **more})


def test_the_end_follows_from_the_speed_so_far() -> None:
    now = progress()
    assert (now.share, now.remaining_secs, now.projected_end, now.rows_per_sec) == (0.25, 150.0, 250.0, 10.0)


@pytest.mark.parametrize("more", [{"total_bytes": None}, {"done_bytes": 0}, {"working_secs": 0.0}])
def test_the_end_is_not_known_too_early(more: dict[str, object]) -> None:
    assert progress(**more).projected_end is None


def test_progress_is_read_back_as_it_was_written() -> None:
    assert Progress.of(progress().document()) == progress()
