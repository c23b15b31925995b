"""millrace: Kafka topics of features to Kafka topics of predictions, and what the world says back to the model."""

from typing import Final

__version__: Final = "0.1.0"
