"""The parts of a writer's schema, each of which can read itself for many records at once.

A node writes what it reads into `out`, one element per record, in the places of the records that it reads; `out` is
None for what nobody wants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from millrace.codec.avro_cursor import Cursors, Fault, Where, among

Out: TypeAlias = NDArray[Any] | None


class Node(Protocol):
    """One part of a writer's schema."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Move the cursors of the records past this part and keep what it holds."""
        ...


@dataclass(frozen=True, slots=True)
class Nothing:
    """Null where null is welcome: `out` keeps what it was filled with."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Nothing is written for null."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Null where a value is required."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Give the records up."""
        cursors.fail(where, np.ones(len(cursors.faults[where]), np.bool_), Fault.MISSING)


@dataclass(frozen=True, slots=True)
class Integer:
    """An int or a long."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the integers."""
        found = cursors.longs(where)
        if out is not None:
            out[where] = found


@dataclass(frozen=True, slots=True)
class IntegerText:
    """An int or a long that is wanted as text."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the integers and write them in decimal."""
        found = cursors.longs(where)
        if out is not None:
            out[where] = np.fromiter(map(str, found.tolist()), np.object_, len(found))


@dataclass(frozen=True, slots=True)
class Number:
    """A float or a double.

    Attributes:
        dtype: `<f4` or `<f8`.
        finite: Whether NaN and infinity spoil the record.
    """

    dtype: np.dtype[np.floating]
    finite: bool

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the numbers."""
        found = cursors.fixed(where, self.dtype.itemsize).view(self.dtype)[:, 0]
        if out is not None:
            self.keep(found, cursors, where, out)

    def keep(self, found: NDArray[Any], cursors: Cursors, where: Where, out: NDArray[Any]) -> None:
        """Keep numbers that are already read."""
        if self.finite:
            cursors.fail(where, ~np.isfinite(found), Fault.NOT_FINITE)
        out[where] = found


@dataclass(frozen=True, slots=True)
class Boolean:
    """A boolean, one byte."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the booleans."""
        found = cursors.fixed(where, 1)[:, 0]
        cursors.fail(where, found > 1, Fault.MALFORMED)
        if out is not None:
            out[where] = found == 1


@dataclass(frozen=True, slots=True)
class Text:
    """A text, or bytes that must be one."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the texts."""
        if out is None:
            cursors.spans(where)
        else:
            out[where] = cursors.texts(where)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A number of bytes that nobody wants."""

    size: int

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Pass the bytes."""
        cursors.advance(where, self.size)


@dataclass(frozen=True, slots=True)
class Symbol:
    """An enum, read as the text of its symbol."""

    symbols: NDArray[np.object_]

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the symbols."""
        index = cursors.longs(where)
        cursors.fail(where, (index < 0) | (index >= len(self.symbols)), Fault.MALFORMED)
        if out is not None:
            out[where] = self.symbols[np.clip(index, 0, len(self.symbols) - 1)]


@dataclass(frozen=True, slots=True)
class Unwanted:
    """A branch of a union whose type is not that of the feature: whoever took it is given up."""

    node: Node

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Pass the value, which shows whether it is one, and give the records up."""
        self.node.read(cursors, where, None)
        cursors.fail(where, np.ones(len(cursors.faults[where]), np.bool_), Fault.WRONG_TYPE)


@dataclass(frozen=True, slots=True)
class Union:
    """One of several types, chosen by each record."""

    branches: Sequence[Node]

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read each branch for the records that took it."""
        chosen = cursors.longs(where)
        cursors.fail(where, (chosen < 0) | (chosen >= len(self.branches)), Fault.MALFORMED)
        alive = cursors.faults[where] == Fault.NONE
        for index, branch in enumerate(self.branches):
            taken = alive & (chosen == index)
            if taken.all():
                branch.read(cursors, where, out)
            elif taken.any():
                branch.read(cursors, among(where, taken), out)


@dataclass(frozen=True, slots=True)
class Record:
    """A nested record that nobody wants."""

    fields: Sequence[Node]

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Pass the fields."""
        for node in self.fields:
            node.read(cursors, where, None)


@dataclass(frozen=True, slots=True)
class Array:
    """An array of numbers, of which the signature knows how many there are.

    It is expected as every writer writes it, in one block. Whoever writes another number of elements, or several
    blocks, is read by itself.

    Attributes:
        item: What the elements are: numbers, or arrays of them.
        size: How many elements there are.
        width: How many numbers an element has.
    """

    item: Node
    size: int
    width: int = 1

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Read the elements into the second axis of `out`."""
        cursors.fail(where, cursors.longs(where) != self.size, Fault.UNEXPECTED)
        if out is not None and isinstance(self.item, Number):
            numbers = cursors.fixed(where, self.item.dtype.itemsize * self.size).view(self.item.dtype)
            if self.item.finite:
                cursors.fail(where, np.logical_not(np.isfinite(numbers).all(axis=1)), Fault.NOT_FINITE)
            out[where] = numbers
        else:
            for element in range(self.size):
                self.item.read(cursors, where, self._place(element, out))
        cursors.fail(where, cursors.longs(where) != 0, Fault.UNEXPECTED)

    def _place(self, element: int, out: Out) -> Out:
        if out is None or not isinstance(self.item, Array):
            return None if out is None else out[:, element]
        return out[:, element * self.width : (element + 1) * self.width]


@dataclass(frozen=True, slots=True)
class Collection:
    """An array or a map. Passed here when it is empty and nobody wants it; otherwise the record is read by itself."""

    def read(self, cursors: Cursors, where: Where, out: Out) -> None:
        """Pass empty collections."""
        cursors.fail(where, (cursors.longs(where) != 0) | (out is not None), Fault.UNEXPECTED)
