"""Makes Python of `proto/*.proto`: `make proto`. A test compares what is there with what would be made.

The messages live in a pool of their own, so that a client of the same protocol may be imported into the same process.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc

PROTO: Final = Path(__file__).parent
TARGET: Final = PROTO.parent / "src" / "millrace_gateway" / "adapters" / "grpc" / "generated"

_SHARED_POOL: Final = "_descriptor_pool.Default()"
_OWN_POOL: Final = "_descriptor_pool.DescriptorPool()"
_BARE_MAPPING: Final = re.compile(r"_Mapping(?=[],])")
"""A type without its arguments, which strict checking refuses."""


def generated() -> Iterator[tuple[Path, str]]:
    """Each generated file, and what its text must be.

    Raises:
        RuntimeError: A file cannot be compiled, or the compiler writes in another way than expected here.
    """
    with tempfile.TemporaryDirectory() as folder:
        for source in sorted(PROTO.glob("*.proto")):
            includes = [f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"]
            outputs = [f"--python_out={folder}", f"--pyi_out={folder}"]
            if protoc.main(["protoc", *includes, *outputs, str(source)]):
                raise RuntimeError(f"{source} cannot be compiled")
            for made in sorted(Path(folder).glob(f"{source.stem}_pb2.py*")):
                text = made.read_text(encoding="utf-8")
                if made.suffix == ".py" and text.count(_SHARED_POOL) != 1:
                    raise RuntimeError(f"the compiler writes {made.name} in another way than is expected here")
                yield (
                    TARGET / made.name,
                    _BARE_MAPPING.sub("_Mapping[str, object]", text.replace(_SHARED_POOL, _OWN_POOL)),
                )


def main() -> None:
    """Write every generated file."""
    for path, text in generated():
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"{path.name}: written\n")


if __name__ == "__main__":
    main()
