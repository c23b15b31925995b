"""Steps that make categories: one_hot, bucket."""

from typing import Annotated, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import ColumnName, Learned, Step
from millrace.transform.steps.values import learn_quantiles, number_column
from millrace.transform.types import ColumnType, type_of


class OneHot(Step):
    """Put a column of 0 and 1 (float64) in the place of each category; a value of no category is 0 in all of them."""

    step: Literal["one_hot"]
    column: ColumnName
    """A column of texts."""
    categories: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The categories; learnt from the data where absent."""
    most: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Most categories to learn: the most frequent ones."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.categories is not None and len(set(self.categories)) < len(self.categories):
            raise ValueError("a category stands twice")
        return self

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn."""
        return self.categories is None

    def learn(self, frame: Frame) -> Learned:
        """The categories, in the order of the alphabet."""
        if not self.needs_fit:
            return {}
        counts = self._texts(frame).drop_null().value_counts()
        if not len(counts):
            raise MistakeError(f"{self.column!r} has no category to learn", remedy="name the categories")
        frequent = sorted(counts.to_pylist(), key=lambda each: (-each["counts"], each["values"]))[: self.most]
        return {"categories": sorted(each["values"] for each in frequent)}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        texts = self._texts(frame)
        categories = self.categories or tuple(learned.get("categories", ()))
        flags = {
            f"{self.column}_{category}": pc.fill_null(pc.equal(texts, category), False).cast(pa.float64())  # noqa: FBT003 -- Arrow's signature
            for category in categories
        }
        taken = sorted(flags.keys() & frame.columns.keys())
        if taken:
            raise MistakeError(f"there is a column {taken[0]!r} already", remedy="rename it before this step")
        rest = [name for name in frame.columns if name != self.column]
        return frame.with_columns(flags).only([*rest, *flags])

    def _texts(self, frame: Frame) -> pa.Array:
        column = frame.column(self.column)
        if type_of(column) is not ColumnType.STRING:
            raise MistakeError(f"{self.column!r} is {type_of(column)}", remedy="cast it to string before this step")
        return column


class Bucket(Step):
    """Number the ranges between edges: 0 below the first edge, 1 from the first edge on, and so forth (int64)."""

    step: Literal["bucket"]
    column: ColumnName
    """A column of numbers."""
    into: ColumnName
    """Where the numbers of the ranges go."""
    edges: Annotated[tuple[float, ...], Field(min_length=1)] | None = None
    """The edges, ascending."""
    quantiles: Annotated[int, Field(ge=2, le=1_000)] | None = None
    """Or: edges that cut the data into so many parts of about equal size."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.edges is None) == (self.quantiles is None):
            raise ValueError("name either edges or quantiles")
        if self.edges is not None and list(self.edges) != sorted(set(self.edges)):
            raise ValueError("the edges are not ascending")
        return self

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn."""
        return self.quantiles is not None

    def learn(self, frame: Frame) -> Learned:
        """The edges."""
        if self.quantiles is None:
            return {}
        return {"edges": learn_quantiles(self.column, frame.column(self.column), self.quantiles)}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        numbers = number_column(self.column, frame.column(self.column))
        values = numbers.to_numpy(zero_copy_only=False)
        edges = np.asarray(self.edges or learned.get("edges", ()), np.float64)
        places = np.searchsorted(edges, values, side="right").astype(np.int64)
        # What is no number lies between no edges.
        nothing = np.isnan(values)
        return frame.with_columns({self.into: pa.array(places, pa.int64(), mask=nothing)})
