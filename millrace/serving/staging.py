"""Batches on their way to an accelerator: filled up to a few sizes, in memory that it reads by itself.

Memory that the operating system may move has to be copied by the driver once more before an accelerator can read it;
page-locked memory has not.
"""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from millrace.core.columns import FeatureColumns
from millrace.serving.execution import padded_size

log = structlog.get_logger()

_RUNTIMES: Final = ("libcudart.so.13", "libcudart.so.12")


class HostMemory(Protocol):
    """Makes memory of this process readable for an accelerator."""

    def lock(self, array: NDArray[np.generic]) -> bool:
        """Lock the array's pages. False where that is not possible; the array is as good, and slower."""

    def unlock(self, array: NDArray[np.generic]) -> None:
        """Release what `lock` locked."""


class CudaHostMemory:
    """Page-locks memory by CUDA's runtime library, which the session has loaded already.

    Args:
        libraries: File names of that library; the first one that can be opened is taken.
    """

    def __init__(self, libraries: Sequence[str] = _RUNTIMES) -> None:
        self._cuda = next(filter(None, map(_opened, libraries)), None)
        if self._cuda is None:
            log.warning("CUDA's runtime library was not found; batches are copied once more", tried=list(libraries))

    def lock(self, array: NDArray[np.generic]) -> bool:
        """See `HostMemory.lock`."""
        if self._cuda is None:
            return False
        failed = int(self._cuda.cudaHostRegister(_address(array), ctypes.c_size_t(array.nbytes), ctypes.c_uint(0)))
        if failed:
            log.warning("memory could not be page-locked; batches are copied once more", cuda_error=failed)
        return not failed

    def unlock(self, array: NDArray[np.generic]) -> None:
        """See `HostMemory.unlock`."""
        if self._cuda is not None:
            self._cuda.cudaHostUnregister(_address(array))


class Staging:
    """Buffers of the sizes that batches are filled up to. Safe to use from several threads.

    It holds one buffer for each size and each thread that has scored at the same time.

    Args:
        memory: Locks the buffers.
    """

    def __init__(self, memory: HostMemory) -> None:
        self._memory = memory
        self._free: dict[int, list[_Buffers]] = {}
        self._locked: list[NDArray[np.generic]] = []

    @contextmanager
    def padded(self, columns: FeatureColumns) -> Iterator[tuple[NDArray[np.generic], ...]]:
        """The tensors of a batch, at least one row, filled up with its last row; good until the block ends."""
        rows = len(columns)
        size = padded_size(rows, columns.signature)
        if size is None:
            yield columns.tensors
            return
        free = self._free.setdefault(size, [])
        try:
            buffers = free.pop()
        except IndexError:
            buffers = self._made(columns, size)
        for buffer, tensor in zip(buffers, columns.tensors, strict=True):
            buffer[:rows] = tensor
            buffer[rows:] = tensor[-1]
        try:
            yield buffers
        finally:
            free.append(buffers)

    def close(self) -> None:
        """Release the memory; nothing may be staged any more."""
        self._free.clear()
        while self._locked:
            self._memory.unlock(self._locked.pop())

    def _made(self, columns: FeatureColumns, size: int) -> "_Buffers":
        buffers = tuple(np.empty((size, *tensor.shape[1:]), tensor.dtype) for tensor in columns.tensors)
        self._locked += [buffer for buffer in buffers if self._memory.lock(buffer)]
        return buffers


_Buffers = tuple[NDArray[np.generic], ...]


def _opened(library: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(library)
    except OSError:
        return None


def _address(array: NDArray[np.generic]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
