"""What executes a deployment's model, as which member of the group, and how large one record may be."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from millrace.process.deployment.names import Count, Milliseconds
from millrace.process.settings import FROZEN


class Provider(StrEnum):
    """What executes the model."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Precision(StrEnum):
    """Of the numbers that a model computes with on an accelerator."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


class GroupProtocol(StrEnum):
    """How the members of the consumer group agree on who reads what."""

    AUTO = "auto"
    """KIP-848 where the broker has it, classic elsewhere."""
    CONSUMER = "consumer"
    """KIP-848."""
    CLASSIC = "classic"


class Runtime(BaseModel):
    """What executes the model, and what it may use."""

    model_config = FROZEN

    providers: Annotated[tuple[Provider, ...], Field(min_length=1)] = (Provider.CPU,)
    """In the order of preference; one that is named and missing stops the scorer rather than being passed over."""
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """Threads of one inference. One, because more scorers scale better than more threads, and give equal bits."""
    precision: Precision = Precision.FLOAT32
    """Half precision is faster on an accelerator, and its answers differ from the CPU's in the third digit."""
    python_functions: bool = False
    """Whether a model may be a plain Python function, which runs with all the rights of the scorer."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.precision is Precision.FLOAT16 and self.providers[0] is Provider.CPU:
            raise ValueError("precision float16 needs cuda or tensorrt as the first of the providers")
        return self


class Limits(BaseModel):
    """Bounds of one record, checked before anything large is allocated. Beyond them a record is a dead letter."""

    model_config = FROZEN

    record_bytes: Count = 1_048_576
    """Largest value; Kafka's own default bound of a record."""
    depth: Annotated[int, Field(ge=1, le=256)] = 64
    """Deepest nesting of a JSON value; the outermost object is level 1."""
    rows: Count = 65_536
    """Most rows of an Arrow IPC value."""
    expanded_bytes: Count = 67_108_864
    """Most bytes of an Arrow IPC value once it is decompressed."""


class Group(BaseModel):
    """Membership of the consumer group."""

    model_config = FROZEN

    protocol: GroupProtocol = GroupProtocol.AUTO
    """How the members agree on who reads what."""
    session_timeout_ms: Milliseconds | None = None
    """Time after which a silent member loses its partitions; the broker's own value where absent."""

    @property
    def session_timeout(self) -> timedelta | None:
        """Time after which a silent member loses its partitions; None for the broker's own value."""
        return None if self.session_timeout_ms is None else timedelta(milliseconds=self.session_timeout_ms)
