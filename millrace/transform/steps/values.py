"""Steps that change values: fill, clip, scale."""

from collections.abc import Callable, Mapping
from typing import Annotated, Final, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import Columns, Learned, Step
from millrace.transform.types import type_of

Quantile = Annotated[float, Field(ge=0, le=1)]


class Fill(Step):
    """Put a value where there is none."""

    step: Literal["fill"]
    columns: Columns
    """Where to look."""
    value: bool | float | str | None = None
    """What to put there."""
    learn_value: Literal["mean", "median", "most_frequent"] | None = None
    """Or what to learn from the data, for each column."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.value is None) == (self.learn_value is None):
            raise ValueError("name either value or learn_value")
        return self

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn."""
        return self.learn_value is not None

    def learn(self, frame: Frame) -> Learned:
        """The value of each column."""
        if not self.needs_fit:
            return {}
        return {name: self._learn_one(name, frame.column(name)) for name in self.columns}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        filled = {}
        for name in self.columns:
            column, value = frame.column(name), learned.get(name, self.value)
            filled[name] = pc.fill_null(column, _scalar(name, value, column))
        return frame.with_columns(filled)

    def _learn_one(self, name: str, column: pa.Array) -> bool | float | str:
        present = column.drop_null()
        if not len(present):
            raise MistakeError(f"{name!r} has no value to learn from", remedy="give a value instead")
        if self.learn_value == "most_frequent":
            return _most_frequent(present)
        numbers = number_column(name, present)
        value: float = (pc.mean(numbers) if self.learn_value == "mean" else pc.quantile(numbers, q=0.5)[0]).as_py()
        return value


def _most_frequent(present: pa.Array) -> bool | float | str:
    """The value that stands most often; of several the one that stands first."""
    counts = present.value_counts()
    first = pc.index(counts.field("counts"), pc.max(counts.field("counts"))).as_py()
    value: bool | float | str = counts.field("values")[first].as_py()
    return value


def _scalar(name: str, value: object, column: pa.Array) -> pa.Scalar:
    try:
        if type_of(column).is_integer and isinstance(value, float):
            # A mean of whole numbers is none: it is put there rounded, as the column's type demands.
            value = round(value)
        return pa.scalar(value, column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, ValueError):
        raise MistakeError(f"{value!r} is no value of {name!r}", remedy=f"the column is {type_of(column)}") from None


class Clip(Step):
    """Move what lies outside of bounds to the nearest bound."""

    step: Literal["clip"]
    columns: Columns
    """Columns of numbers."""
    low: float | None = None
    """Lower bound."""
    high: float | None = None
    """Upper bound."""
    quantiles: tuple[Quantile, Quantile] | None = None
    """Or: the bounds are these quantiles of the data, for each column."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        bounds = (self.low, self.high)
        if (self.quantiles is None) == (bounds == (None, None)):
            raise ValueError("name either low, high or both, or quantiles")
        low, high = self.quantiles or bounds
        if low is not None and high is not None and low >= high:
            raise ValueError("the lower bound is not below the upper one")
        return self

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn."""
        return self.quantiles is not None

    def learn(self, frame: Frame) -> Learned:
        """The bounds of each column."""
        if self.quantiles is None:
            return {}
        return {name: _quantiles(name, frame.column(name), self.quantiles) for name in self.columns}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        clipped = {}
        for name in self.columns:
            low, high = learned.get(name, (self.low, self.high))
            column = frame.column(name)
            numbers = number_column(name, column)
            if low is not None:
                numbers = pc.if_else(pc.less(numbers, low), low, numbers)
            if high is not None:
                numbers = pc.if_else(pc.greater(numbers, high), high, numbers)
            clipped[name] = numbers
        return frame.with_columns(clipped)


class Scale(Step):
    """Move and stretch numbers to a common range; the result is float64.

    `standard` is (x - mean) / standard deviation, `minmax` is (x - min) / (max - min), `robust` is (x - median) /
    (third quartile - first). A column whose values are all the same is moved and not stretched.
    """

    step: Literal["scale"]
    columns: Columns
    """Columns of numbers."""
    by: Literal["standard", "minmax", "robust"] = "standard"
    """How."""

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn."""
        return True

    def learn(self, frame: Frame) -> Learned:
        """Centre and spread of each column."""
        return {name: _MEASURES[self.by](name, frame.column(name)) for name in self.columns}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        scaled = {}
        for name in self.columns:
            centre, spread = learned.get(name, (0.0, 1.0))
            scaled[name] = pc.divide(pc.subtract(number_column(name, frame.column(name)), centre), spread or 1.0)
        return frame.with_columns(scaled)


def number_column(name: str, column: pa.Array) -> pa.Array:
    """A column of numbers as float64.

    Raises:
        MistakeError: It holds something else.
    """
    if not type_of(column).is_number:
        raise MistakeError(f"{name!r} is {type_of(column)}, not a number", remedy="cast it in a step before this one")
    return column.cast(pa.float64(), safe=False)


def _finite(name: str, column: pa.Array) -> pa.Array:
    numbers = number_column(name, column)
    usable = numbers.filter(pc.fill_null(pc.is_finite(numbers), False))  # noqa: FBT003 -- Arrow's signature
    if not len(usable):
        raise MistakeError(f"{name!r} has no number to learn from", remedy="fit on data that has some")
    return usable


def _quantiles(name: str, column: pa.Array, quantiles: tuple[float, ...]) -> list[float]:
    values: list[float] = pc.quantile(_finite(name, column), q=list(quantiles)).to_pylist()
    return values


def learn_quantiles(name: str, column: pa.Array, parts: int) -> list[float]:
    """The inner edges that cut a column's values into parts of about equal size, ascending and different."""
    return sorted(set(_quantiles(name, column, tuple(part / parts for part in range(1, parts)))))


def _standard(name: str, column: pa.Array) -> list[float]:
    numbers = _finite(name, column)
    return [pc.mean(numbers).as_py(), pc.stddev(numbers).as_py()]


def _minmax(name: str, column: pa.Array) -> list[float]:
    numbers = _finite(name, column)
    low, high = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    return [low, high - low]


def _robust(name: str, column: pa.Array) -> list[float]:
    first, median, third = _quantiles(name, column, (0.25, 0.5, 0.75))
    return [median, third - first]


_MEASURES: Final[Mapping[str, Callable[[str, pa.Array], list[float]]]] = {
    "standard": _standard,
    "minmax": _minmax,
    "robust": _robust,
}
