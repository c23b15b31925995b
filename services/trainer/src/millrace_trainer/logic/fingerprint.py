"""A digest of rows that depends on the rows alone: not on how many were read at a time, nor on how they are stored."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from millrace.process.retraining import OffsetRange


class Fingerprint:
    """Gathers columns, a few rows at a time.

    Args:
        ranges: The ranges that the rows come from.
        columns: The names of the columns, in order.
    """

    def __init__(self, ranges: Iterable[OffsetRange], columns: Sequence[str]) -> None:
        listed = [each.model_dump(mode="json") for each in ranges]
        self._head: Final = json.dumps({"ranges": listed, "columns": list(columns)}, sort_keys=True).encode()
        self._hashes: Final = {name: hashlib.sha256() for name in columns}

    def add(self, name: str, values: NDArray[np.generic] | Sequence[str]) -> None:
        """Take further values of a column in."""
        if isinstance(values, np.ndarray) and values.dtype != object:
            self._hashes[name].update(np.ascontiguousarray(values).tobytes())
            return
        texts = [str(value).encode() for value in values]
        # With its length in front, a text cannot run into the next one.
        self._hashes[name].update(b"".join(len(text).to_bytes(8, "little") + text for text in texts))

    def digest(self) -> str:
        """`sha256:` and the digest of everything so far."""
        whole = hashlib.sha256(self._head)
        for each in self._hashes.values():
            whole.update(each.digest())
        return f"sha256:{whole.hexdigest()}"
