"""Transforms as Hypothesis makes them: a few steps that compute, learn and leave out, and three numbers in the end."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from hypothesis import strategies as st

from millrace.serving.bundle import attach_transform
from millrace.testing.models import linear_bundle
from millrace.transform import Program, Transform

INPUT: Final[list[dict[str, Any]]] = [
    {"name": "x", "type": "float64", "nullable": True},
    {"name": "y", "type": "float32", "nullable": True},
    {"name": "n", "type": "int64"},
    {"name": "text", "type": "string"},
    {"name": "sky", "type": "string"},
    {"name": "time", "type": "timestamp"},
]
_NUMBERS: Final = ("x", "y", "n")
_WEIGHTS: Final = (1e-3, -1e-3, 5e-4)
"""Small enough that scores of large features are neither 0 nor 1, and every bit of these counts."""
_EXPRESSIONS: Final = (
    *("{a} * {b} - 0.1", "({a} - 32) / (1.8 + abs({b}))", "exp(-{a} * {a} / 100)", "log1p(abs({a})) + {b}"),
    *("cos({a} / 58.1)", "sqrt(abs({a}))", "{a} if {b} > 0 else {b} / 3", "round({a}) + floor({b})"),
    *("max({a}, {b}, 0.3)", "coalesce({a}, {b}, 7)", "{n} % 7 + {a}", "length(sky) * {a}"),
)


def generated_rows(count: int, seed: int) -> pa.Table:
    """Rows of `INPUT`; some values are missing, and some texts are no numbers."""
    random = np.random.default_rng(seed)
    x, y = (np.where(random.random(count) < 0.1, np.nan, random.normal(0, 40, count)) for _ in range(2))
    text = np.array([f"{value:.3g}" for value in random.normal(0, 1e3, count)], object)
    text[random.random(count) < 0.1] = "-"
    text[random.random(count) < 0.03] = "none"
    return pa.table(
        {
            "x": pa.array(x, from_pandas=True),
            "y": pa.array(y.astype(np.float32), from_pandas=True),
            "n": pa.array(random.integers(-1_000, 1_000, count)),
            "text": pa.array(text.tolist(), pa.string()),
            "sky": pa.array(random.choice(["clear", "rain", "fog", "", "Ü"], count).tolist(), pa.string()),
            "time": pa.array(random.integers(0, 2**41, count), pa.int64()).cast(pa.timestamp("ms")),
        }
    )


def write_case(folder: Path, document: dict[str, Any], seed: int) -> dict[str, str]:
    """Write rows, and a model whose transform has learnt from them; what the programs of this kit are asked about."""
    table, rows = generated_rows(200, seed), folder / "rows.parquet"
    pa.parquet.write_table(table, rows)
    program = Program.fit(Transform.parse(document, subject="the test"), table)
    bundle = linear_bundle(folder / "bundle", name="generated", weights=_WEIGHTS)
    return {"bundle": str(attach_transform(bundle, program).directory), "rows": str(rows)}


@st.composite
def generated_transforms(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of transforms of `INPUT` to the numbers a, b and c."""
    numbers = list(_NUMBERS)
    steps: list[dict[str, Any]] = []
    if draw(st.booleans()):
        steps.append({"step": "to_number", "columns": ["text"], "missing": ["", "-"]})
        numbers.append("text")
    if draw(st.booleans()):
        zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]))
        steps.append({"step": "date_parts", "column": "time", "parts": ["hour", "day_of_year"], "timezone": zone})
        numbers += ["time_hour", "time_day_of_year"]
    steps += [draw(_steps(number, numbers)) for number in range(draw(st.integers(1, 6)))]
    if draw(st.booleans()):
        steps.append({"step": "one_hot", "column": "sky", "categories": ["clear", "rain"]})
        numbers += ["sky_clear", "sky_rain"]
    expressions = draw(st.lists(_expressions(numbers, sky="sky_clear" not in numbers), min_size=3, max_size=3))
    steps += [
        {"step": "compute", "into": into, "expression": each} for into, each in zip("abc", expressions, strict=True)
    ]
    output = [{"name": name, "type": "float64", "nullable": True} for name in "abc"]
    return {"transform": "generated", "input": INPUT, "steps": steps, "output": output}


@st.composite
def _steps(draw: st.DrawFn, number: int, numbers: list[str]) -> dict[str, Any]:
    """One step over the columns of numbers there are; a new column is added to them."""
    column, new = draw(st.sampled_from(numbers)), f"v{number}"
    learned = st.sampled_from(["mean", "median"])
    step: dict[str, Any] = draw(
        st.one_of(
            _step("compute", into=st.just(new), expression=_expressions(numbers)),
            _step("bucket", into=st.just(new), column=st.just(column), quantiles=st.integers(2, 6)),
            _step("fill", columns=st.just([column]), value=st.sampled_from([0, -3])),
            _step("fill", columns=st.sampled_from([["x"], ["y"], ["x", "y"]]), learn_value=learned),
            _step("clip", columns=st.just([column]), low=st.just(-20), high=st.just(30)),
            _step("clip", columns=st.just([column]), quantiles=st.just([0.05, 0.9])),
            _step("scale", columns=st.just([column]), by=st.sampled_from(["standard", "minmax", "robust"])),
            _step("filter", where=st.just(f"is_null({column}) or {column} > -30 or n % 2 == 0")),
        )
    )
    if step.get("into") == new:
        numbers.append(new)
    return step


def _step(step: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"step": st.just(step), **fields})


def _expressions(numbers: list[str], *, sky: bool = True) -> st.SearchStrategy[str]:
    known = [each for each in _EXPRESSIONS if sky or "sky" not in each]
    column = st.sampled_from(numbers)
    return st.builds(lambda form, a, b: form.format(a=a, b=b, n="n"), st.sampled_from(known), column, column)
