"""What is made of the proto files is what stands there."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Final

GENERATE: Final = Path(__file__).parents[2] / "proto" / "generate.py"


def generator() -> ModuleType:
    """The program that `make proto` runs."""
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_messages_are_current() -> None:
    made = dict(generator().generated())
    assert made
    assert {path: path.read_text(encoding="utf-8") == text for path, text in made.items()} == dict.fromkeys(made, True)
