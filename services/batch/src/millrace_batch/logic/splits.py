"""A split: consecutive rows of one file, scored by one worker into one part."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Split:
    """Some rows of one input file.

    Attributes:
        path: The file, without the protocol.
        first_row: Number of the first row in the file, from 0.
        groups: The row groups to read, from the first to before the last; None where a file is read whole.
        bytes: About how much of the file this is; the measure of progress.
        stamp: What tells whether the file is still the one that was planned: size, and time or tag.
    """

    path: str
    first_row: int
    groups: tuple[int, int] | None
    bytes: int
    stamp: str

    @property
    def id(self) -> str:
        """Names the part. The same rows of the same file have the same name in every run, in any order of planning."""
        text = f"{self.path}\0{self.groups}\0{self.stamp}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of a split; a line of the manifest.

    Attributes:
        id: Of the split.
        path: The input file.
        first_row: Number of its first row in the file.
        read: Rows that were read.
        scored: Rows in the part.
        filtered: Rows that the transform left out.
        refused: Rows that cannot be scored; they are in the file of refused rows of the same id.
        bytes: Of the split.
        sha256: Of the part's file; empty where no row was scored and there is no part.
    """

    id: str
    path: str
    first_row: int
    read: int
    scored: int
    filtered: int
    refused: int
    bytes: int
    sha256: str

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """Read what `document` returned."""
        return cls(**document)
