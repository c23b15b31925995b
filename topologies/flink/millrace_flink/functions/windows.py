"""The windows of a transform as Flink calls them: records to readings, readings to closed windows, these to records."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pandas as pd
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import ValueStateDescriptor
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction

from millrace.codec.dead_letters import Circumstances, dead_letters
from millrace.core.errors import FatalError
from millrace.core.records import Headers
from millrace.process.clock import SystemClock
from millrace.process.deployment import RecordFormat
from millrace.serving.features import FeatureStream
from millrace.transform import Closed, KeyFold, Program, State, WindowedTransform
from millrace_flink.functions.columns import header_columns, read_columns

READ: Final = DataTypes.ROW(
    [
        DataTypes.FIELD("readings", DataTypes.ARRAY(DataTypes.STRING())),
        DataTypes.FIELD("names", DataTypes.ARRAY(DataTypes.STRING())),
        DataTypes.FIELD("contents", DataTypes.ARRAY(DataTypes.BYTES())),
    ]
)
"""Of a record what the window must know, `[key, time, values]` as JSON, a text per row; or a dead letter's headers."""

WRITTEN: Final = DataTypes.ROW(
    [
        DataTypes.FIELD("key", DataTypes.BYTES()),
        DataTypes.FIELD("value", DataTypes.BYTES()),
        DataTypes.FIELD("at", DataTypes.BIGINT()),
    ]
)
"""A record of features; without a value where the steps after the window leave its row out."""

LAST: Final = 2**63 - 1
"""The watermark of a topic that has ended."""


class ReadRecords(ScalarFunction):  # type: ignore[misc]  # PyFlink is untyped
    """Decodes a bundle of records and does to them what comes before the window."""

    def __init__(self, program: Program, topic: str, form: RecordFormat, circumstances: Circumstances) -> None:
        self._program, self._topic, self._form, self._circumstances = program, topic, form, circumstances
        self._clock = SystemClock()
        self._stream: FeatureStream | None = None

    def open(self, function_context: FunctionContext) -> None:
        """Compile the decoder."""
        self._stream = FeatureStream.of(self._program, self._form)

    def eval(self, *columns: Any) -> pd.DataFrame:  # noqa: ANN401 - pandas series, as `read_columns` takes them
        """Read a bundle; see `READ` for what is returned, a row per record."""
        if self._stream is None:
            raise FatalError("records came before the decoder was compiled", remedy="report this as a bug")
        records = read_columns(self._topic, columns)
        read = self._stream.read(records)
        readings: list[list[str]] = [[] for _ in range(len(records))]
        found = read.readings
        for record, *reading in zip(read.source, found.keys, found.times_ms, found.values, strict=True):
            readings[record].append(json.dumps(reading))
        letters: list[Headers] = [()] * len(records)
        for stage, rejections in (("decode", read.decode), ("transform", read.transform)):
            made = dead_letters(
                records,
                rejections,
                topic="",
                stage=stage,
                circumstances=self._circumstances,
                failed_at_ms=self._clock.wall_ms(),
            )
            for rejection, headers in zip(rejections, made.headers or (), strict=True):
                letters[rejection.row] = headers or ()
        return pd.DataFrame({"readings": readings, **header_columns(letters)})


class FoldWindows(KeyedProcessFunction):  # type: ignore[misc]
    """Folds the readings of a key into its windows, in their order. The state is in Flink's checkpoints.

    A key's windows close by its own records, and by the watermark: at the end of the topic, or when the job is told how
    long a key may be silent.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._fold: KeyFold | None = None
        self._state: Any = None

    def open(self, runtime_context: RuntimeContext) -> None:
        """Take hold of the key's state."""
        self._fold = KeyFold(WindowedTransform.of(self._program).window)
        self._state = runtime_context.get_state(ValueStateDescriptor("windows", Types.STRING()))

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterator[str]:
        """Take a reading in, and give the windows that it closes."""
        key, time_ms, values = json.loads(value[0])
        before = self._state.value()
        folded = self._folding.add(None if before is None else json.loads(before), key, time_ms, values)
        self._state.update(json.dumps(folded.state))
        ctx.timer_service().register_event_time_timer(LAST)
        self._wait(folded.state, ctx)
        yield from _texts(folded.closed)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[str]:
        """Give the windows that close because event time has come so far."""
        state = self._state.value()
        if state is None:
            return
        if timestamp == LAST:
            self._state.clear()
            yield from _texts(self._folding.close(json.loads(state)))
            return
        folded = self._folding.advance(json.loads(state), timestamp)
        self._state.update(json.dumps(folded.state))
        self._wait(folded.state, ctx)
        yield from _texts(folded.closed)

    def _wait(self, state: State, ctx: KeyedProcessFunction.Context) -> None:
        """Be called when the first open window is due; the others are waited for one after the other."""
        due = self._folding.next_due(state)
        if due is not None:
            ctx.timer_service().register_event_time_timer(due)

    @property
    def _folding(self) -> KeyFold:
        if self._fold is None:
            raise FatalError("records came before the state was there", remedy="report this as a bug")
        return self._fold


class WriteFeatures(ScalarFunction):  # type: ignore[misc]
    """Makes records of closed windows, after the steps behind the window."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._stream: FeatureStream | None = None

    def open(self, function_context: FunctionContext) -> None:
        """Cut the transform."""
        self._stream = FeatureStream.of(self._program, RecordFormat.JSON)

    def eval(self, texts: "pd.Series[Any]") -> pd.DataFrame:
        """Write a bundle; see `WRITTEN` for what is returned, a row per window."""
        if self._stream is None:
            raise FatalError("windows came before the transform", remedy="report this as a bug")
        made = self._stream.write([Closed(*json.loads(text)) for text in texts])
        written = pd.DataFrame({"key": None, "value": None, "at": 0}, index=range(len(texts)), dtype="object")
        written.loc[made.source, "key"] = made.keys
        written.loc[made.source, "value"] = made.values
        written.loc[made.source, "at"] = made.timestamps_ms
        return written.astype({"at": "int64"})


def _texts(closed: Sequence[Closed]) -> list[str]:
    return [json.dumps([each.key, each.start_ms, each.values]) for each in closed]


def reading_of(row: Row) -> tuple[str, int]:
    """The key of a reading, as text, and its event time."""
    key, time_ms, _ = json.loads(row[0])
    return json.dumps(key), time_ms
