"""What the shell should have reported, and what is wrong with what it did report. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

Source = tuple[int, int]
"""Partition and offset of a record of evidence."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One record of evidence: the count of one shard of a pane, which replaces the one before."""

    source: Source
    pane: str
    shard: int
    count: int


@dataclass(frozen=True, slots=True)
class Report:
    """What follows from one record: the sum over the pane's shards, and how often the pane was reported by now."""

    source: Source
    total: int
    readings: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong.

    Attributes:
        missing: Records of evidence without a report.
        duplicated: Reports beyond the first of a record.
        wrong_sums: Reports whose sum is not that of the evidence so far: an entry was missing or stale.
        wrong_counts: Reports whose number is wrong: an entry was incremented twice, or not at all.
    """

    missing: int
    duplicated: int
    wrong_sums: int
    wrong_counts: int

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not any((self.missing, self.duplicated, self.wrong_sums, self.wrong_counts))


def expect(evidence: Iterable[Evidence]) -> dict[Source, Report]:
    """The report of every record. A pane lies in one partition."""
    shards: defaultdict[str, dict[int, int]] = defaultdict(dict)
    readings: Counter[str] = Counter()
    reports = {}
    for record in sorted(evidence, key=lambda record: record.source):
        shards[record.pane][record.shard] = record.count
        readings[record.pane] += 1
        total = sum(shards[record.pane].values())
        reports[record.source] = Report(record.source, total, readings[record.pane])
    return reports


def judge(reports: Iterable[Report], evidence: Iterable[Evidence]) -> Verdict:
    """Compare what was reported with what should have been."""
    expected = expect(evidence)
    seen = list(reports)
    times = Counter(report.source for report in seen)
    known = [(report, expected[report.source]) for report in seen if report.source in expected]
    return Verdict(
        missing=len(expected.keys() - times.keys()),
        duplicated=sum(count - 1 for count in times.values()),
        wrong_sums=sum(report.total != right.total for report, right in known),
        wrong_counts=sum(report.readings != right.readings for report, right in known),
    )
