"""What needs the native module is left out where it is not built."""

from importlib.util import find_spec
from typing import Final

_NATIVE: Final = [f"test_native_{what}.py" for what in ("arrow", "avro", "fill", "json", "stream")]

collect_ignore = [] if find_spec("millrace_native") else _NATIVE
