"""How figures are told: JSON lines on stdout, everything else on stderr."""

import json
import sys
from typing import Final

from rich.console import Console

console: Final = Console(stderr=True)


def emit(figure: str, **fields: object) -> None:
    """One figure, as a line of JSON."""
    sys.stdout.write(json.dumps({"figure": figure, **fields}) + "\n")
    sys.stdout.flush()
