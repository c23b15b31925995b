"""Tensors that a record names instead of carrying: `blob:sha256:...`, fetched from the blob store.

A topic's records are small; pictures are not. The writer stores a tensor as a `.npy` file (NumPy's own format) under
its digest, and the record's field is the reference. What is scored is what the digest says, or nothing.
"""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import IO, Any, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from millrace.core.columns import Decoded, Decoder, FeatureColumns, Rejection
from millrace.core.errors import FatalError, InvalidRecordError, Reason, RequestError
from millrace.core.records import RecordBatch
from millrace.core.signature import DType, Feature, NotFinite, Signature
from millrace.store.blobs import BlobStore

SCHEME: Final = "blob:"
"""What a reference begins with; the digest follows."""

_HEADER_BYTES: Final = 65_536
_WIDEST_BYTES: Final = 8
_IN_MEMORY_BYTES: Final = 4 * 2**20
"""Smaller blobs are not worth a file."""

Tensor = NDArray[Any]


class BlobTensors:
    """Tensors by reference, each checked against its digest. Safe to use from several threads.

    Args:
        store: Where blobs are.
        held_bytes: Most bytes of tensors that are kept for the next record that names them.
    """

    def __init__(self, store: BlobStore, *, held_bytes: int = 128 * 2**20) -> None:
        self._store = store
        self._bound = held_bytes
        self._held: OrderedDict[tuple[str, Feature], Tensor] = OrderedDict()
        self._held_bytes = 0
        self._lock = threading.Lock()

    def tensor(self, reference: str, feature: Feature, not_finite: NotFinite) -> Tensor:
        """The tensor that a reference names, of the feature's type and shape; not to be written to.

        Raises:
            InvalidRecordError: It is no reference, there is no such blob, or it is no such tensor.
            TransientError: The store cannot be reached; the same call may succeed later.
        """
        place = (reference, feature)
        with self._lock:
            if place in self._held:
                self._held.move_to_end(place)
                return self._held[place]
        made = self._fetch(reference, feature, not_finite)
        self._keep(place, made)
        return made

    def _keep(self, place: tuple[str, Feature], tensor: Tensor) -> None:
        with self._lock:
            if tensor.nbytes > self._bound or place in self._held:
                return
            self._held[place] = tensor
            self._held_bytes += tensor.nbytes
            while self._held_bytes > self._bound:
                _, gone = self._held.popitem(last=False)
                self._held_bytes -= gone.nbytes

    def _fetch(self, reference: str, feature: Feature, not_finite: NotFinite) -> Tensor:
        digest = reference.removeprefix(SCHEME)
        if digest == reference:
            raise InvalidRecordError(Reason.WRONG_TYPE, f"field {feature.name!r} is no reference {SCHEME}sha256:...")
        limit = feature.elements * _WIDEST_BYTES + _HEADER_BYTES
        # Beside the tensor only a piece of the file is in memory at a time.
        with BytesIO() if limit <= _IN_MEMORY_BYTES else tempfile.TemporaryFile() as file:
            self._copy(digest, feature, file, limit)
            file.seek(0)
            found = _read(file, feature)
        return _as_feature(found, feature, not_finite)

    def _copy(self, digest: str, feature: Feature, file: IO[bytes], limit_bytes: int) -> None:
        try:
            if not self._store.has(digest):
                raise InvalidRecordError(Reason.MISSING_BLOB, f"field {feature.name!r}: there is no blob {digest}")
            self._store.fetch(digest, file, limit_bytes=limit_bytes)
        except RequestError as error:  # no digest, too large, or deleted meanwhile
            raise InvalidRecordError(Reason.INVALID_BLOB, f"field {feature.name!r}: {error.message}") from None
        except FatalError:
            raise InvalidRecordError(
                Reason.INVALID_BLOB, f"field {feature.name!r}: the stored blob is not {digest} any more"
            ) from None


class ReferenceDecoder:
    """Decodes records whose tensors are references. See `millrace.core.columns.Decoder`.

    Args:
        signature: What the model wants.
        references: Names of the features that are references in records; each a tensor.
        compiled: Makes the decoder of what the records carry.
        tensors: Knows what references name.

    Raises:
        RequestError: Such a feature is no tensor, or may be absent.
    """

    def __init__(
        self,
        signature: Signature,
        references: Sequence[str],
        compiled: Callable[[Signature], Decoder],
        tensors: BlobTensors,
    ) -> None:
        for name in references:
            if not signature.feature(name).shape or signature.feature(name).nullable:
                raise RequestError(
                    f"feature {name!r} is a single value or may be absent, and cannot be a reference",
                    remedy="let source.references name tensors only",
                )
        self._signature: Final = signature
        self._references: Final = frozenset(references)
        self._tensors: Final = tensors
        features = tuple(
            Feature(each.name, DType.STRING) if each.name in self._references else each for each in signature.features
        )
        self._decoder: Final = compiled(replace(signature, features=features))

    def decode(self, records: RecordBatch) -> Decoded:
        """Decode every record and fetch what it names, or reject it with its own reason.

        Raises:
            TransientError: The blob store or the schema registry cannot be reached; the same call may succeed later.
        """
        carried = self._decoder.decode(records)
        fetched = {name: list(map(self._fetcher(name), carried.columns.column(name))) for name in self._references}
        refused: dict[int, InvalidRecordError] = {}
        for column in fetched.values():
            for row, found in enumerate(column):
                if isinstance(found, InvalidRecordError):
                    refused.setdefault(int(carried.source[row]), found)
        kept = np.flatnonzero(~np.isin(carried.source, list(refused)))
        tensors = tuple(
            self._stack(fetched[tensor.features[0]], tensor.features[0], kept)
            if tensor.features[0] in self._references
            else values[kept]
            for tensor, values in zip(self._signature.inputs, carried.columns.tensors, strict=True)
        )
        ids = carried.event_ids
        rejections = (*carried.rejections, *(Rejection(row, error) for row, error in refused.items()))
        return replace(
            carried,
            columns=FeatureColumns(self._signature, tensors),
            source=carried.source[kept],
            rows=carried.rows[kept],
            event_ids=None if ids is None else [ids[row] for row in kept.tolist()],
            rejections=tuple(sorted(rejections, key=lambda rejection: rejection.row)),
        )

    def _fetcher(self, name: str) -> Callable[[Any], Tensor | InvalidRecordError]:
        feature, not_finite = self._signature.feature(name), self._signature.not_finite

        def fetch(reference: str) -> Tensor | InvalidRecordError:
            try:
                return self._tensors.tensor(reference, feature, not_finite)
            except InvalidRecordError as error:
                return error

        return fetch

    def _stack(self, column: list[Tensor | InvalidRecordError], name: str, kept: NDArray[np.intp]) -> Tensor:
        feature = self._signature.feature(name)
        if len(kept) == 1:  # the usual case of large tensors, without a copy
            return np.asarray(column[int(kept[0])]).reshape(1, *feature.shape)
        made = np.empty((len(kept), *feature.shape), feature.dtype.numpy)
        for row, place in enumerate(kept.tolist()):
            made[row] = column[place]
        return made


def row_bytes(signature: Signature, references: Sequence[str]) -> int:
    """How much memory the referenced tensors of one row take."""
    return sum(signature.feature(name).size_bytes for name in references)


def _read(file: IO[bytes], feature: Feature) -> Tensor:
    """The array of a `.npy` file, whose header is held against the feature before anything is allocated."""
    try:
        version = npy.read_magic(file)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(file)
    except (ValueError, EOFError, OSError) as error:
        words = str(error).partition("\n")[0][:200]
        raise InvalidRecordError(Reason.INVALID_BLOB, f"field {feature.name!r}: it is no .npy file: {words}") from None
    if shape not in {feature.shape, (feature.elements,)}:
        raise InvalidRecordError(
            Reason.WRONG_SHAPE, f"field {feature.name!r} of shape {feature.shape} is a blob of shape {shape}"
        )
    if not _is_readable(dtype, feature.dtype):
        raise InvalidRecordError(Reason.WRONG_TYPE, f"field {feature.name!r} is a blob of {dtype}, not {feature.dtype}")
    file.seek(0)
    try:
        array: Tensor = npy.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError):
        raise InvalidRecordError(
            Reason.INVALID_BLOB, f"field {feature.name!r}: the .npy file is shorter than its header says"
        ) from None
    return array


def _is_readable(found: np.dtype[Any], wanted: DType) -> bool:
    """Integers are read as any number, floats as floats, booleans as booleans."""
    allowed = {DType.BOOL: "b", DType.INT32: "iu", DType.INT64: "iu", DType.FLOAT32: "iuf", DType.FLOAT64: "iuf"}
    return found.kind in allowed.get(wanted, "")


def _as_feature(found: Tensor, feature: Feature, not_finite: NotFinite) -> Tensor:
    wanted = feature.dtype.numpy
    if np.can_cast(found.dtype, wanted, "safe"):
        made = found.astype(wanted, order="C", copy=False)
    else:
        # Through a double, as numbers of the other formats go, so that all give equal bits.
        with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN like others
            made = (found.astype(np.float64) if wanted.kind == "f" else found).astype(wanted, order="C")
        if wanted.kind == "i" and not np.array_equal(made, found):
            raise InvalidRecordError(Reason.NOT_FINITE, f"field {feature.name!r} has values beyond {feature.dtype}")
    if wanted.kind == "f" and not_finite is NotFinite.REJECT and not np.isfinite(made).all():
        raise InvalidRecordError(Reason.NOT_FINITE, f"field {feature.name!r} has values that are not finite")
    made = made.reshape(feature.shape)
    made.flags.writeable = False
    return made
