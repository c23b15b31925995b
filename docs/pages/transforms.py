"""`docs/reference/transforms.md`: every step of a transform, with an example that is evaluated when it is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, Final, get_args

import pyarrow as pa
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from docs.pages.markdown import GENERATED, code, table
from millrace.transform import Aggregate, Program, Transform
from millrace.transform.steps import AnyStep

STEPS: Final[Sequence[type[BaseModel]]] = get_args(get_args(AnyStep)[0])
"""The class of every step."""


@dataclass(frozen=True, slots=True)
class Example:
    """A step, and columns that it works on."""

    step: Mapping[str, Any]
    columns: Mapping[str, Sequence[Any]]


EXAMPLES: Final = (
    Example({"step": "select", "columns": ["b", "a"]}, {"a": [1], "b": [2], "c": [3]}),
    Example({"step": "drop", "columns": ["b"]}, {"a": [1], "b": [2]}),
    Example({"step": "rename", "columns": {"b": "c"}}, {"a": [1], "b": [2]}),
    Example({"step": "cast", "columns": {"a": "int64"}}, {"a": [1.0, 2.5, None]}),
    Example(
        {"step": "to_number", "columns": ["price"], "decimal": ",", "thousands": "."},
        {"price": ["1.234,5", "", "free"]},
    ),
    Example({"step": "to_timestamp", "columns": ["at"], "format": "%d.%m.%Y"}, {"at": ["24.12.2025", "soon"]}),
    Example({"step": "fill", "columns": ["a"], "learn_value": "mean"}, {"a": [1.0, None, 2.0]}),
    Example({"step": "clip", "columns": ["a"], "low": 0, "high": 1}, {"a": [-0.5, 0.5, 1.5]}),
    Example({"step": "scale", "columns": ["a"], "by": "minmax"}, {"a": [10.0, 15.0, 20.0]}),
    Example({"step": "one_hot", "column": "sky", "categories": ["clear", "rain"]}, {"sky": ["rain", "fog"]}),
    Example({"step": "bucket", "column": "a", "into": "part", "edges": [0, 10]}, {"a": [-1.0, 0.0, 10.0]}),
    Example({"step": "compute", "into": "c", "expression": "(f - 32) / 1.8 if f > 32 else 0"}, {"f": [50.0, 14.0]}),
    Example({"step": "date_parts", "column": "at", "parts": ["year", "hour"]}, {"at": ["2025-12-24T18:30:00"]}),
    Example(
        {"step": "parse_json", "column": "text", "fields": {"x": "float64"}},
        {"text": ['{"x": 1, "y": 2}', "{}", "no object"]},
    ),
    Example({"step": "filter", "where": "a > 1 and b != 'x'"}, {"a": [1, 2, 3], "b": ["x", "x", "y"]}),
    Example({"step": "deduplicate", "by": ["a"], "keep": "last"}, {"a": [1, 2, 1], "b": ["x", "y", "z"]}),
    Example(
        {
            "step": "window",
            "key": ["a"],
            "time": "at",
            "size_secs": 3600,
            "aggregates": [{"into": "n", "function": "count"}, {"into": "most", "function": "max", "of": "b"}],
        },
        {"a": ["x", "x", "y"], "at": [f"2025-12-24T{time}:00" for time in ("18:30", "18:40", "19:00")], "b": [1, 2, 3]},
    ),
)
"""One for each step."""


def transforms_page() -> str:
    """The page."""
    examples = {str(example.step["step"]): example for example in EXAMPLES}
    sections = [_section(step, examples[_kind(step)]) for step in STEPS]
    parts = [
        "# Steps of a transform",
        GENERATED,
        "What a transform is, and what windows mean: [the guide](../guides/transforms.md). The JSON Schema of the "
        "document is [transform.schema.json](../../schemas/transform.schema.json).",
        *sections,
        "### Aggregates of a window",
        _fields(Aggregate),
    ]
    return "\n\n".join(parts) + "\n"


def _section(step: type[BaseModel], example: Example) -> str:
    written = yaml.safe_dump([dict(example.step)], default_flow_style=None, sort_keys=False, width=100).strip()
    before, after = _evaluated(example)
    parts = [f"## {_kind(step)}", getdoc(step) or "", _fields(step), f"```yaml\n{written}\n```", before, "makes", after]
    return "\n\n".join(parts)


def _fields(model: type[BaseModel]) -> str:
    rows = [
        (
            code(name),
            "required" if field.default is PydanticUndefined else code(_default(field.default)),
            str(field.description),
        )
        for name, field in model.model_fields.items()
        if name != "step"
    ]
    return table(("field", "default", "meaning"), rows)


def _default(value: object) -> str:
    return "none" if value is None else str(list(value) if isinstance(value, tuple) else value)


def _evaluated(example: Example) -> tuple[str, str]:
    """The rows before and after the step, as tables."""
    given = pa.table({name: pa.array(values) for name, values in example.columns.items()})
    types = {"int64": "int64", "double": "float64", "string": "string"}
    columns = [{"name": field.name, "type": types[str(field.type)], "nullable": True} for field in given.schema]
    times = [name for name in example.columns if name == "at" and example.step["step"] != "to_timestamp"]
    reading = [{"step": "to_timestamp", "columns": times}] if times else []
    document = {"transform": "example", "input": columns, "steps": [*reading, dict(example.step)]}
    made = Program.fit(Transform.parse(document, subject="an example"), given).apply(given)
    refused = [f"row {each.row}: {each.reason}, {each.detail}" for each in made.refused]
    after = _rows(made.table)
    return _rows(given), "\n\n".join([after, f"Refused: {'; '.join(refused)}."] if refused else [after])


def _rows(rows: pa.Table | pa.RecordBatch) -> str:
    cells = ([_cell(value) for value in row.values()] for row in rows.to_pylist())
    return table(rows.schema.names, cells)


def _cell(value: object) -> str:
    return "" if value is None else code(str(value)) if value != "" else "` `"


def _kind(step: type[BaseModel]) -> str:
    return str(get_args(step.model_fields["step"].annotation)[0])
