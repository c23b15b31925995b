"""Expressions over columns: `(temp_f - 32) / 1.8`, `rain > 0 and station != 'A'`.

The syntax is Python's, read by Python's parser and never executed: of its tree only the nodes named here are accepted.
Values follow SQL: null in, null out; `and` and `or` know three values. Numbers are float64 as soon as they are computed
with; division by zero is infinite or NaN, as in IEEE 754. Every operation works on whole columns and on each row alone.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from millrace.transform.frame import Frame
from millrace.transform.mistake import MistakeError
from millrace.transform.types import ColumnType, type_of

MAX_CHARACTERS: Final = 4_000
MAX_NODES: Final = 500
_MAX_DEPTH: Final = 50

_REMEMBERED: Final = 1_024
"""Expressions that stay compiled: more than twice as many as a transform has steps."""

Expression: TypeAlias = Callable[[Frame], pa.Array]
"""A compiled expression: rows in, one value for each row out."""


@lru_cache(maxsize=_REMEMBERED)
def parse(text: str) -> Expression:
    """Compile an expression. Whether its types agree is known when it sees columns; none of them need have a row.

    Raises:
        MistakeError: It is no expression, or one that is not allowed. Calling the result raises it for a column that is
            missing, or a type that an operation does not take.
    """
    if len(text) > MAX_CHARACTERS:
        raise MistakeError(f"an expression of {len(text)} characters", remedy=f"at most {MAX_CHARACTERS}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unreadable(text) from None
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise MistakeError(f"an expression of more than {MAX_NODES} parts", remedy="cut it into several steps")
    return _compile(tree.body, 0)


def _unreadable(text: str) -> MistakeError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return MistakeError(f"{shown!r} is no expression", remedy="write it as `(temp_f - 32) / 1.8` or `rain > 0`")


def _compile(node: ast.expr, depth: int) -> Expression:  # noqa: PLR0911 -- one for each kind of node
    if depth > _MAX_DEPTH:
        raise MistakeError("an expression nested too deeply", remedy="cut it into several steps")

    def inner(child: ast.expr) -> Expression:
        return _compile(child, depth + 1)

    match node:
        case ast.Name(id=name):
            return lambda frame: frame.column(name)
        case ast.Constant(value=value):
            return _constant(value)
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _ARITHMETIC:
            return _arithmetic(_ARITHMETIC[type(operator)], inner(left), inner(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _of_numbers(pc.negate, inner(operand), name="-")
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return _not(inner(operand))
        case ast.BoolOp(op=operator, values=values):
            return _logical(pc.and_kleene if isinstance(operator, ast.And) else pc.or_kleene, list(map(inner, values)))
        case ast.Compare(left=left, ops=operators, comparators=comparators):
            return _comparisons(left, operators, comparators, inner)
        case ast.IfExp(test=test, body=body, orelse=otherwise):
            return _choice(inner(test), inner(body), inner(otherwise))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, inner)
        case _:
            raise MistakeError(
                f"{ast.unparse(node)!r} is not allowed in an expression",
                remedy=f"there are + - * / % **, comparisons, and, or, not, in, `a if b else c`, {', '.join(_NAMES)}",
            )


def _constant(value: object) -> Expression:
    match value:
        case bool():
            scalar = pa.scalar(value, pa.bool_())
        case int() | float():
            scalar = pa.scalar(float(value), pa.float64())
        case str():
            scalar = pa.scalar(value, pa.string())
        case _:
            raise MistakeError(f"{value!r} is no value of a column", remedy="write a number, a text, True or False")
    return lambda frame: pa.repeat(scalar, len(frame))


def _number(array: pa.Array, *, name: str) -> pa.Array:
    if not type_of(array).is_number:
        raise MistakeError(
            f"{name} needs numbers, not {type_of(array)}", remedy="cast the column in a step before this one"
        )
    return array.cast(pa.float64(), safe=False)


def _expect(array: pa.Array, column_type: ColumnType, *, name: str) -> pa.Array:
    if type_of(array) is not column_type:
        raise MistakeError(
            f"{name} needs {column_type}, not {type_of(array)}", remedy="cast the column in a step before this one"
        )
    return array


def _modulo(dividend: pa.Array, divisor: pa.Array) -> pa.Array:
    whole = pc.floor(pc.divide(dividend, divisor))
    return pc.subtract(dividend, pc.multiply(whole, divisor))


_ARITHMETIC: Final[Mapping[type[ast.operator], tuple[str, Callable[[pa.Array, pa.Array], pa.Array]]]] = {
    ast.Add: ("+", pc.add),
    ast.Sub: ("-", pc.subtract),
    ast.Mult: ("*", pc.multiply),
    ast.Div: ("/", pc.divide),
    ast.Mod: ("%", _modulo),
    ast.Pow: ("**", pc.power),
}

_COMPARISONS: Final[Mapping[type[ast.cmpop], tuple[str, Callable[[pa.Array, pa.Array], pa.Array]]]] = {
    ast.Eq: ("==", pc.equal),
    ast.NotEq: ("!=", pc.not_equal),
    ast.Lt: ("<", pc.less),
    ast.LtE: ("<=", pc.less_equal),
    ast.Gt: (">", pc.greater),
    ast.GtE: (">=", pc.greater_equal),
}


def _arithmetic(
    operation: tuple[str, Callable[[pa.Array, pa.Array], pa.Array]], left: Expression, right: Expression
) -> Expression:
    name, compute = operation
    return lambda frame: compute(_number(left(frame), name=name), _number(right(frame), name=name))


def _of_numbers(compute: Callable[[pa.Array], pa.Array], operand: Expression, *, name: str) -> Expression:
    return lambda frame: compute(_number(operand(frame), name=name))


def _not(operand: Expression) -> Expression:
    return lambda frame: pc.invert(_expect(operand(frame), ColumnType.BOOL, name="not"))


def _logical(compute: Callable[[pa.Array, pa.Array], pa.Array], operands: Sequence[Expression]) -> Expression:
    def evaluate(frame: Frame) -> pa.Array:
        first, *others = (_expect(operand(frame), ColumnType.BOOL, name="and, or") for operand in operands)
        for other in others:
            first = compute(first, other)
        return first

    return evaluate


def _comparisons(
    left: ast.expr,
    operators: Sequence[ast.cmpop],
    comparators: Sequence[ast.expr],
    inner: Callable[[ast.expr], Expression],
) -> Expression:
    operands = [left, *comparators[:-1]]
    links = [
        _comparison(inner(before), operator, after, inner)
        for before, operator, after in zip(operands, operators, comparators, strict=True)
    ]
    return links[0] if len(links) == 1 else _logical(pc.and_kleene, links)


def _comparison(
    left: Expression, operator: ast.cmpop, right: ast.expr, inner: Callable[[ast.expr], Expression]
) -> Expression:
    if isinstance(operator, ast.In | ast.NotIn):
        member = _membership(left, right)
        return member if isinstance(operator, ast.In) else _not(member)
    if type(operator) not in _COMPARISONS:
        raise MistakeError("`is` is not allowed in an expression", remedy="write is_null(column), or ==")
    name, compute = _COMPARISONS[type(operator)]
    other = inner(right)
    return lambda frame: compute(*_comparable(left(frame), other(frame), name=name))


def _comparable(left: pa.Array, right: pa.Array, *, name: str) -> tuple[pa.Array, pa.Array]:
    if left.type == right.type:
        return left, right
    if not (type_of(left).is_number and type_of(right).is_number):
        raise MistakeError(
            f"{name} compares {type_of(left)} with {type_of(right)}", remedy="cast one in a step before this one"
        )
    return _number(left, name=name), _number(right, name=name)


def _membership(left: Expression, right: ast.expr) -> Expression:
    elements = right.elts if isinstance(right, ast.List | ast.Tuple) else None
    if not elements or not all(isinstance(element, ast.Constant) for element in elements):
        raise MistakeError("`in` needs a list of values", remedy="write it as `station in ['A', 'B']`")
    values = [element.value for element in elements if isinstance(element, ast.Constant)]
    texts = pa.array([value for value in values if isinstance(value, str)], pa.string())
    if len(texts) == len(values):
        return lambda frame: _member(_expect(left(frame), ColumnType.STRING, name="in"), texts)
    of_number = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(of_number) < len(values):
        raise MistakeError("`in` needs values of one type", remedy="write only numbers, or only texts")
    numbers = pa.array(of_number, pa.float64())
    return lambda frame: _member(_number(left(frame), name="in"), numbers)


def _member(array: pa.Array, values: pa.Array) -> pa.Array:
    """Null is neither in the list nor outside of it."""
    return pc.if_else(pc.is_valid(array), pc.is_in(array, value_set=values), pa.scalar(None, pa.bool_()))


def _choice(test: Expression, body: Expression, otherwise: Expression) -> Expression:
    def evaluate(frame: Frame) -> pa.Array:
        condition = _expect(test(frame), ColumnType.BOOL, name="if")
        return pc.if_else(condition, *_alike([body(frame), otherwise(frame)], name="if"))

    return evaluate


def _alike(arrays: Sequence[pa.Array], *, name: str) -> Sequence[pa.Array]:
    if len({array.type for array in arrays}) == 1:
        return arrays
    return [_number(array, name=name) for array in arrays]


def _maximum(*arrays: pa.Array) -> pa.Array:
    return pc.max_element_wise(*arrays, skip_nulls=False)


def _minimum(*arrays: pa.Array) -> pa.Array:
    return pc.min_element_wise(*arrays, skip_nulls=False)


_OF_ONE_NUMBER: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = {
    "abs": pc.abs,
    "ceil": pc.ceil,
    "cos": pc.cos,
    "exp": pc.exp,
    "floor": pc.floor,
    "log": pc.ln,
    "log1p": pc.log1p,
    "round": pc.round,
    "sin": pc.sin,
    "sqrt": pc.sqrt,
}
_OF_MANY: Final[Mapping[str, Callable[..., pa.Array]]] = {"coalesce": pc.coalesce, "max": _maximum, "min": _minimum}
_OF_TEXT: Final[Mapping[str, Callable[[pa.Array], pa.Array]]] = {
    "length": lambda texts: pc.utf8_length(texts).cast(pa.float64()),
    "lower": pc.utf8_lower,
    "trim": pc.utf8_trim_whitespace,
    "upper": pc.utf8_upper,
}
_WITH_PATTERN: Final[Mapping[str, Callable[[pa.Array, str], pa.Array]]] = {
    "contains": pc.match_substring,
    "ends_with": pc.ends_with,
    "starts_with": pc.starts_with,
}
_NAMES: Final = sorted([*_OF_ONE_NUMBER, *_OF_MANY, *_OF_TEXT, *_WITH_PATTERN, "is_null", "column"])


def _call(name: str, arguments: Sequence[ast.expr], inner: Callable[[ast.expr], Expression]) -> Expression:
    match name, arguments:
        case "column", [ast.Constant(value=str(wanted))]:
            return lambda frame: frame.column(wanted)
        case "is_null", [operand]:
            asked = inner(operand)
            return lambda frame: pc.is_null(asked(frame))
        case _, [operand] if name in _OF_ONE_NUMBER:
            return _of_numbers(_OF_ONE_NUMBER[name], inner(operand), name=name)
        case _, [operand] if name in _OF_TEXT:
            text, of_text = inner(operand), _OF_TEXT[name]
            return lambda frame: of_text(_expect(text(frame), ColumnType.STRING, name=name))
        case _, [operand, ast.Constant(value=str(pattern))] if name in _WITH_PATTERN:
            searched, search = inner(operand), _WITH_PATTERN[name]
            return lambda frame: search(_expect(searched(frame), ColumnType.STRING, name=name), pattern)
        case _, [_, _, *_] if name in _OF_MANY:
            operands, combine = list(map(inner, arguments)), _OF_MANY[name]
            return lambda frame: combine(*_alike([operand(frame) for operand in operands], name=name))
        case _:
            raise MistakeError(
                f"{name}() does not exist, or takes other arguments",
                remedy=f"functions are {', '.join(_NAMES)}; `column('a name')` reads a column of any name",
            )
