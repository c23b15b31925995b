"""What needs the native module is left out where it is not built."""

from importlib.util import find_spec
from typing import Final

_NATIVE: Final = ["test_native_arrow.py", "test_native_avro.py", "test_native_fill.py", "test_native_json.py"]

collect_ignore = [] if find_spec("millrace_native") else _NATIVE
