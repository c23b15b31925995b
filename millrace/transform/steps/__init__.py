"""The steps of a transform, one class each: what it says in a document, what it learns, and what it does."""

from typing import Annotated, TypeAlias

from pydantic import Field

from millrace.transform.steps.casts import Cast, ToNumber, ToTimestamp
from millrace.transform.steps.categories import Bucket, OneHot
from millrace.transform.steps.derive import Compute, DateParts, ParseJson
from millrace.transform.steps.rows import Deduplicate, Filter
from millrace.transform.steps.shape import Drop, Rename, Select
from millrace.transform.steps.step import Learned, Step
from millrace.transform.steps.values import Clip, Fill, Scale
from millrace.transform.steps.windows import Window

AnyStep: TypeAlias = Annotated[
    Select
    | Drop
    | Rename
    | Cast
    | ToNumber
    | ToTimestamp
    | Fill
    | Clip
    | Scale
    | OneHot
    | Bucket
    | Compute
    | DateParts
    | ParseJson
    | Filter
    | Deduplicate
    | Window,
    Field(discriminator="step"),
]
"""Any step; `step` says which."""

__all__ = ["AnyStep", "Learned", "Step"]
