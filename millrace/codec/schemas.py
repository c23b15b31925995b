"""The Avro schemas of what millrace itself writes and reads, as they are registered.

`schemas/` holds the same for readers of the repository; a contract test compares them.
"""

import json
from typing import Final

PREDICTION_AVRO_SCHEMA: Final = json.dumps(
    {
        "type": "record",
        "name": "Prediction",
        "namespace": "millrace",
        "fields": [
            {"name": "event_id", "type": "string"},
            {
                "name": "source",
                "type": {
                    "type": "record",
                    "name": "Source",
                    "fields": [
                        {"name": "topic", "type": "string"},
                        {"name": "partition", "type": "int"},
                        {"name": "offset", "type": "long"},
                        {"name": "row", "type": "int", "default": 0},
                    ],
                },
            },
            {"name": "deployment", "type": "string"},
            {"name": "model", "type": "string"},
            {"name": "version", "type": "int"},
            {"name": "digest", "type": "string"},
            {"name": "transform", "type": "string"},
            {
                "name": "outputs",
                "type": {
                    "type": "record",
                    "name": "Outputs",
                    "fields": [
                        {"name": "label", "type": ["null", "string"], "default": None},
                        {"name": "scores", "type": ["null", {"type": "map", "values": "double"}], "default": None},
                        {"name": "value", "type": ["null", "double"], "default": None},
                    ],
                },
            },
            {"name": "bins", "type": "string"},
            {"name": "event_time", "type": "long"},
            {"name": "scored_at", "type": "long"},
            {"name": "degraded", "type": "boolean", "default": False},
        ],
    },
    indent=2,
)
"""The Avro schema of a prediction, as it is registered."""

LABEL_AVRO_SCHEMA: Final = json.dumps(
    {
        "type": "record",
        "name": "Label",
        "namespace": "millrace",
        "fields": [
            {"name": "event_id", "type": "string"},
            {"name": "label", "type": ["null", "string", "double", "boolean"], "default": None},
            {"name": "label_time", "type": "long"},
            {"name": "revision", "type": "int", "default": 0},
            {
                "name": "op",
                "type": {"type": "enum", "name": "Op", "symbols": ["upsert", "retract"]},
                "default": "upsert",
            },
            {"name": "source", "type": ["null", "string"], "default": None},
            {"name": "weight", "type": "double", "default": 1.0},
        ],
    },
    indent=2,
)
"""The Avro schema of a label."""
