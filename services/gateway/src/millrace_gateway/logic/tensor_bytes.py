"""Tensors as bytes, as the protocol's binary extension and its gRPC door have them: little-endian, row by row."""

from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.core.errors import RequestError
from millrace_gateway.logic.tensors import Datatype, Tensor

_LENGTH: Final = 4
"""Bytes before each text, which hold its length."""


def from_bytes(content: memoryview, datatype: Datatype, shape: tuple[int, ...], *, name: str) -> NDArray[np.generic]:
    """A tensor from its bytes: little-endian numbers, texts each after its length in four bytes.

    Raises:
        RequestError: There are more or fewer bytes than the shape needs, or a text is not UTF-8.
    """
    count = prod(shape)
    if datatype is Datatype.BYTES:
        return _texts(content, count, name=name).reshape(shape)
    if len(content) != count * datatype.numpy.itemsize:
        raise RequestError(
            f"tensor {name!r} of shape {list(shape)} has {len(content)} bytes",
            remedy=f"{datatype} takes {datatype.numpy.itemsize} bytes an element",
        )
    # A copy, because the place in the body need not suit the type.
    return np.frombuffer(content, datatype.numpy.newbyteorder("<")).astype(datatype.numpy).reshape(shape)


def to_bytes(tensor: Tensor) -> bytes:
    """A tensor as bytes; the opposite of `from_bytes`."""
    if tensor.datatype is Datatype.BYTES:
        texts = list(map(str.encode, tensor.data.ravel().tolist()))
        return b"".join(len(text).to_bytes(_LENGTH, "little") + text for text in texts)
    return np.ascontiguousarray(tensor.data, tensor.data.dtype.newbyteorder("<")).tobytes()


def _texts(content: memoryview, count: int, *, name: str) -> NDArray[np.object_]:
    texts = np.empty(count, np.object_)
    start = index = 0
    try:
        for index in range(count):
            stop = start + _LENGTH
            length = int.from_bytes(content[start:stop], "little")
            if stop + length > len(content):
                raise RequestError(f"tensor {name!r} ends in text {index}", remedy="write each text after its length")
            texts[index] = str(content[stop : stop + length], "utf-8")
            start = stop + length
    except UnicodeDecodeError:
        raise RequestError(f"text {index} of tensor {name!r} is not UTF-8", remedy="send UTF-8") from None
    if start != len(content):
        raise RequestError(f"{len(content) - start} bytes follow the last text of {name!r}", remedy="check the shape")
    return texts
