"""How a deployment's predictions are compared with the truth."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import BaseModel, Field

from millrace.process.deployment.names import Count, Topic
from millrace.process.settings import FROZEN

_ASSUMED_LABEL_HORIZON: Final = timedelta(days=1)


class Audit(BaseModel):
    """How predictions are compared with the truth. A deployment without any of it is audited by these defaults."""

    model_config = FROZEN

    labels: Topic | None = None
    """Topic of labels; `<stream>.labels` where absent, for a source `<stream>.features`."""
    label_horizon_secs: Annotated[int, Field(ge=0)] | None = None
    """How long after its event a label may come: performance is final no sooner. Only you know. Where absent a day is
    assumed, and every report says so."""
    correction_horizon_secs: Annotated[int, Field(ge=0)] = 0
    """How long after that corrections and retractions still count."""
    window_secs: Count = 3_600
    """Length of a window in event time: one report each. Long enough for some hundred labels, or chance decides."""
    hop_secs: Count | None = None
    """Distance between the starts of windows; the length of a window where absent, so that none overlap."""
    pane_secs: Count | None = None
    """Step in which performance is watched; divides window and hop. The hop where absent."""
    out_of_orderness_secs: Annotated[int, Field(ge=0)] = 5
    """How far behind the newest record of its partition a prediction may come and still be in time."""
    idle_after_secs: Count = 30
    """A partition that was silent for so long on the clock no longer keeps windows open."""
    orphan_ttl_secs: Annotated[int, Field(ge=0)] = 3_600
    """How long a label waits for its prediction."""
    max_events: Count = 4_000_000
    """Most events held per partition while their labels may come, 0.4 kB each. Beyond it the auditor stops."""
    min_effect: Annotated[float, Field(gt=0)] = 0.1
    """The least relative degradation that matters: 0.1 is from 10 % errors to 11 %."""
    min_labels: Count = 300
    """The fewest labelled events on which a decision may rest."""
    min_drift: Annotated[float, Field(gt=0, le=1)] = 0.05
    """The least Jensen-Shannon distance beyond chance at which a feature counts as drifted."""
    cooldown_secs: Annotated[int, Field(ge=0)] = 86_400
    """Event time between two retrain requests."""
    retrain_after_labels: Count | None = None
    """Ask for a better version after so many labelled events, whether or not anything is wrong; never where absent."""
    retrain_every_secs: Count | None = None
    """Ask for a better version after so much event time, whether or not anything is wrong; never where absent."""
    guard_secs: Annotated[int, Field(ge=0)] = 86_400
    """Event time after a promotion in which only a hard fall below the old baseline alarms, advising to roll back."""
    in_range: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Data is broken, and blocks retraining, when fewer of a feature's values lie in the range of the reference."""
    completeness: Annotated[float, Field(ge=0, le=1)] = 0.95
    """Data is broken when fewer of a feature's values are present."""
    segment_by: str | None = None
    """A feature of the model: reports for each of its values (numbers: for each tenth of the reference) as well."""

    @property
    def label_horizon(self) -> timedelta:
        """How long after its event a label may come, declared or assumed."""
        return _ASSUMED_LABEL_HORIZON if self.label_horizon_secs is None else timedelta(seconds=self.label_horizon_secs)
