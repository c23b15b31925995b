"""Which version was the champion before, as the history has it."""

from collections.abc import Iterable

from millrace.core.errors import RequestError
from millrace.kafka.control_writer import MODELS_TOPIC
from millrace.kafka.history import HistoryEntry
from millrace.serving.catalogue import CHAMPION


def previous_champion(entries: Iterable[HistoryEntry], model: str, current: int) -> int:
    """The version that was the champion of a model before the current one.

    Args:
        entries: What was done to the model, oldest first.
        model: Its name.
        current: The version that is the champion now.

    Raises:
        RequestError: No other version ever was.
    """
    key = f"{model}@{CHAMPION}"
    named = [entry.after.get(MODELS_TOPIC, {}).get(key) for entry in entries]
    versions = [value["version"] for value in named if value is not None]
    for version in reversed(versions):
        if version != current and isinstance(version, int):
            return version
    raise RequestError(
        f"no version of {model} but {current} ever was the champion",
        remedy=f"choose one yourself: `millrace model promote {model}/VERSION`",
    )
