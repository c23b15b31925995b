"""What the native module's decoders have in common: they take the records that are plainly good, and leave the others.

What becomes of a record that is left is decided by the Python decoder alone: each policy and each reason is written
once. So two decoders agree as long as the native one takes nothing that the other would refuse, or read otherwise.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from millrace.codec.rows import Rows, assemble, gather, input_shapes
from millrace.core.columns import Decoded, Decoder, Rejection
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, Feature, Signature

MODULE: Final = "millrace_native"


class NativeReader(Protocol):
    """A decoder of the native module."""

    def read(
        self, values: Sequence[bytes | None], tensors: Sequence[NDArray[np.uint8]]
    ) -> tuple[bytes, bytes, list[str | None] | None]:
        """Fill the tensors with the records that are plainly good; which these are, which are left, and ids by row."""
        ...


def is_read_natively(signature: Signature) -> bool:
    """Whether the native decoders know the types of all features; texts they do not."""
    return all(feature.dtype is not DType.STRING for feature in signature.features)


def input_sizes(signature: Signature) -> list[tuple[str, int]]:
    """For each input: its type, and the elements of a row."""
    return [(dtype.value, int(np.prod(shape))) for shape, dtype in input_shapes(signature)]


def places(signature: Signature) -> Iterator[tuple[Feature, int, int]]:
    """Each feature, its input, and its place in a row of that."""
    for number, spec in enumerate(signature.inputs):
        for place, name in enumerate(spec.features):
            yield signature.feature(name), number, place


def decode(signature: Signature, reader: NativeReader, careful: Decoder, records: RecordBatch) -> Decoded:
    """Decode every record to one row, or reject it with its own reason.

    Args:
        signature: What to read; without texts.
        reader: Takes what is plainly good.
        careful: Decides about what is left.
        records: What to decode.
    """
    tensors = [np.empty((len(records), *shape), dtype.numpy) for shape, dtype in input_shapes(signature)]
    found = reader.read(records.values, [tensor.reshape(-1).view(np.uint8) for tensor in tensors])
    taken, left = (np.frombuffer(rows, np.uint32).astype(np.intp) for rows in found[:2])
    rows = Rows(tuple(tensor[: len(taken)] for tensor in tensors), found[2])
    if not len(left):
        return assemble(signature, [rows], taken, ())
    rest = careful.decode(records.take(left))
    others = Rows(rest.columns.tensors, rest.event_ids)
    rejections = [Rejection(int(left[rejection.row]), rejection.error) for rejection in rest.rejections]
    parts: list[tuple[NDArray[np.intp], Rows]] = [(taken, rows), (left[rest.source], others)]
    return gather(signature, [part for part in parts if len(part[0])] or parts[:1], rejections)
