"""Days of weather as columns, and the records made of them.

The names of records, `day-4015`, are what joins a day's measurements, its prediction and its truth. A record's time is
its day's: Kafka counts from 1970, the data begin in 1949, so day 0 is put on the first of January 1970.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace.core.records import OutputBatch
from millrace.core.signature import Task
from millrace.kafka.writing import by_key

DATA: Final = Path(__file__).with_name("weather.csv")
CLASSES: Final = ("dry", "rain")
TASK: Final = Task.BINARY
_NAME: Final = "day-"
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Days:
    """Consecutive days.

    Attributes:
        first: Number of the first day; days are counted from 0, in 1949.
        names: Names of the measurements.
        measured: float32, shape (days, measurements), standardised.
        rain: int64, shape (days,); 1 where it rained: indices into `CLASSES`.
    """

    first: int
    names: tuple[str, ...]
    measured: NDArray[np.float32]
    rain: NDArray[np.int64]

    @classmethod
    def load(cls, path: Path = DATA) -> Self:
        """All days of a file with the columns `day`, the measurements, `rain`.

        Raises:
            RequestError: The file has other columns.
        """
        with path.open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file))
            table = np.loadtxt(file, delimiter=",", dtype=np.float32, ndmin=2)
        if names[0] != "day" or names[-1] != "rain":
            raise RequestError(f"{path} has the columns {names}", remedy="the first must be day and the last rain")
        return cls(int(table[0, 0]), tuple(names[1:-1]), table[:, 1:-1], table[:, -1].astype(np.int64))

    def __len__(self) -> int:
        return len(self.rain)

    @property
    def end(self) -> int:
        """Number of the day after the last."""
        return self.first + len(self)

    def between(self, start: int, end: int) -> Self:
        """The days from number `start` up to, without, number `end`, as far as they are here."""
        rows = slice(max(start - self.first, 0), max(end - self.first, 0))
        first = self.first + rows.start
        return type(self)(first, self.names, self.measured[rows], self.rain[rows])

    def columns(self) -> dict[str, NDArray[np.float32]]:
        """The measurements by name."""
        return dict(zip(self.names, self.measured.T, strict=True))

    def truth(self) -> NDArray[np.str_]:
        """What each day was: a name of `CLASSES`."""
        return np.array(CLASSES)[self.rain]

    def record(self, day: int) -> dict[str, Any]:
        """The feature record of one day as JSON values."""
        values = self.measured[day - self.first].astype(float).round(5).tolist()
        return {"id": record_id(day), "day": day, **dict(zip(self.names, values, strict=True))}


@dataclass(frozen=True, slots=True)
class Damaged:
    """A record that no model can score, as a broken station might send it.

    Attributes:
        day: It follows this day's record, with the same key.
        value: Its value; None for a tombstone.
    """

    day: int
    value: bytes | None


def record_id(day: int) -> str:
    """The name of a day's record."""
    return f"{_NAME}{day}"


def day_of(name: str) -> int:
    """The number of the day whose record has this name."""
    return int(name.removeprefix(_NAME))


def time_of(day: int) -> int:
    """The time at which a day begins, milliseconds since 1970."""
    return day * _DAY_MS


def day_at(time: datetime) -> int:
    """The day that a time is in."""
    return int(time.timestamp() * 1000) // _DAY_MS


def label_records(topic: str, days: Days) -> OutputBatch:
    """The truth about `days`, each known when the next day begins, with the keys of the days' feature records."""
    numbers = list(range(days.first, days.end))
    values = [
        orjson.dumps({"event_id": record_id(day), "label": label, "label_time": time_of(day + 1)})
        for day, label in zip(numbers, days.truth().tolist(), strict=True)
    ]
    return _batch(topic, numbers, values, [time_of(day + 1) for day in numbers])


def feature_records(topic: str, days: Days, damaged: tuple[Damaged, ...] = ()) -> OutputBatch:
    """The feature records of `days`; damaged ones follow those of their days."""
    numbers: list[int] = []
    values: list[bytes | None] = []
    for day in range(days.first, days.end):
        extra = [record.value for record in damaged if record.day == day]
        numbers += [day] * (1 + len(extra))
        values += [orjson.dumps(days.record(day)), *extra]
    return _batch(topic, numbers, values, list(map(time_of, numbers)))


def damage(days: Days) -> tuple[Damaged, ...]:
    """Six records, spread over `days`, each broken in a way of its own."""
    spread = np.linspace(days.first, days.end - 1, 8).astype(int).tolist()[1:-1]
    sound = [days.record(day) for day in spread]
    values = (
        orjson.dumps(sound[0])[:60],
        orjson.dumps(sound[1] | {"temperature": "warm"}),
        orjson.dumps({name: value for name, value in sound[2].items() if name != "dew_point"}),
        orjson.dumps(sound[3]).replace(b'"visibility":', b'"visibility":1e999,"was":'),
        orjson.dumps(sound[4] | {"remark": "?"}).replace(b"?", b"Bellevue 21\xb0"),
        None,
    )
    return tuple(Damaged(day, value) for day, value in zip(spread, values, strict=True))


def _batch(topic: str, days: list[int], values: Sequence[bytes | None], times_ms: list[int]) -> OutputBatch:
    keys = [record_id(day).encode() for day in days]
    return OutputBatch(topic, by_key(len(days)), np.array(times_ms, np.int64), keys, values)
