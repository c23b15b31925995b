"""Words that a deployment document is written in: names, topics, references, bounded numbers."""

from typing import Annotated, TypeAlias

from pydantic import Field, StringConstraints

Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", max_length=100)]
"""Lower-case letters, digits and hyphens: a deployment's name is part of topic names, group ids and metric labels."""

Topic: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+$", max_length=249)]
"""A topic name as Kafka allows it."""

ModelReference: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*(@[a-z][a-z0-9-]*|/[1-9][0-9]*)?$", max_length=200)
]
"""`name@alias`, `name/3` (a version), or `name`, which is `name@champion`."""

TransformReference: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]*(/[1-9][0-9]*)?$", max_length=200)
]
"""`name/3` (a version), or `name`, which is any version of it."""

Count: TypeAlias = Annotated[int, Field(ge=1)]

Milliseconds: TypeAlias = Annotated[int, Field(ge=1, le=24 * 3600 * 1000)]
