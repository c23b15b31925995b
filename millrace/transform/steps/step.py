"""What every step of a transform is."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from millrace.transform.frame import Frame

FROZEN: Final = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

Learned: TypeAlias = Mapping[str, Any]
"""What a step learnt from the data it was fitted on, as JSON values; empty for a step that learns nothing."""

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Columns = Annotated[tuple[ColumnName, ...], Field(min_length=1)]


class Step(BaseModel):
    """One step: a value that says what to do, and does it.

    A step either works on each row alone, so that rows may come in batches of any size, or it is stateful.
    """

    model_config = FROZEN

    is_stateful: ClassVar[bool] = False

    @property
    def needs_fit(self) -> bool:
        """Whether the step has something to learn before it can run."""
        return False

    def learn(self, frame: Frame) -> Learned:
        """What the step must know of the data before it can run.

        Raises:
            MistakeError: The step cannot work on these columns, or there is nothing to learn from.
        """
        return {}

    def run(self, frame: Frame, learned: Learned) -> Frame:
        """Do it.

        Raises:
            MistakeError: The step cannot work on these columns.
        """
        raise NotImplementedError
