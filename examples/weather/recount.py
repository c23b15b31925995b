"""The recount: every topic is read back from its beginning, and each record must have had one fate."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from millrace.core.records import Coordinates


@dataclass(frozen=True, slots=True)
class Recount:
    """What lies in the topics.

    Attributes:
        records: Records in the features topic.
        predictions: Records in the predictions topic.
        dead_letters: Records in the dead letter topic.
        lost: Feature records with neither a prediction nor a dead letter.
        duplicated: Predictions and dead letters beyond the first of the same record.
        strangers: Predictions and dead letters of records that are not in the features topic.
    """

    records: int
    predictions: int
    dead_letters: int
    lost: int
    duplicated: int
    strangers: int

    @property
    def agrees(self) -> bool:
        """Whether every record had exactly one fate, and nothing else is there."""
        return not (self.lost or self.duplicated or self.strangers)


def recount(records: Iterable[Coordinates], predicted: Iterable[Coordinates], dead: Iterable[Coordinates]) -> Recount:
    """Compare what came in with what went out.

    Args:
        records: Where each feature record lies.
        predicted: The source that each prediction names.
        dead: The source that each dead letter names.
    """
    came = set(records)
    predictions, dead_letters = Counter(predicted), Counter(dead)
    fates = predictions + dead_letters
    return Recount(
        records=len(came),
        predictions=predictions.total(),
        dead_letters=dead_letters.total(),
        lost=len(came - fates.keys()),
        duplicated=fates.total() - len(fates),
        strangers=len(fates.keys() - came),
    )
