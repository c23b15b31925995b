"""A job: what is scored, with what, and where it goes."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done. The same job run again goes on where the last run ended.

    Attributes:
        input: URI of a file or a folder.
        output: URI of a folder.
        digest: Of the model's bundle.
        model: Name and version of the model, for people.
        transform: Fingerprint of the transform; empty for none.
        format: How input files are written; empty for what their endings say.
        keep: Input columns that are copied to the output.
        split_rows: About how many rows a part has, where the format can be cut.
    """

    input: str
    output: str
    digest: str
    model: str
    transform: str = ""
    format: str = ""
    keep: tuple[str, ...] = ()
    split_rows: int = 1_000_000

    @property
    def id(self) -> str:
        """Names what is computed: another input, model, transform or set of columns is another job."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:20]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {"id": self.id, **asdict(self)}
