"""Steps that choose columns: select, drop, rename."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.steps.step import ColumnName, Columns, Learned, Step


class Select(Step):
    """Keep these columns, in this order."""

    step: Literal["select"]
    columns: Columns
    """What to keep."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        return frame.only(self.columns)


class Drop(Step):
    """Leave these columns out."""

    step: Literal["drop"]
    columns: Columns
    """What to leave out."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        for name in self.columns:
            frame.column(name)
        kept = [name for name in frame.columns if name not in self.columns]
        if not kept:
            raise MistakeError("no column is left", remedy="keep at least one")
        return frame.only(kept)


class Rename(Step):
    """Give columns other names; their places stay."""

    step: Literal["rename"]
    columns: Annotated[Mapping[ColumnName, ColumnName], Field(min_length=1)]
    """New names by old ones."""

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it."""
        for old in self.columns:
            frame.column(old)
        names = [self.columns.get(name, name) for name in frame.columns]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise MistakeError(f"two columns would be named {twice[0]!r}", remedy="choose another name, or drop one")
        return replace(frame, columns=dict(zip(names, frame.columns.values(), strict=True)))

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.columns.values())) < len(self.columns):
            raise ValueError("two columns get one name; choose another")
        return self
