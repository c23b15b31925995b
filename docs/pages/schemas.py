"""The JSON Schemas that follow from code: of deployments, of the model registry, and of the weather stream."""

import json
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from millrace import transform as transforms
from millrace.core.feature_schema import DIALECT, avro_schema, json_schema
from millrace.core.signature import DType, Feature, ModelInput, Signature, Task
from millrace.process.deployment import Deployment
from millrace.process.retraining import ADAPTER
from millrace.serving.catalogue import Entry
from millrace.serving.transforms import TransformEntry

WEATHER: Final = Signature(
    features=tuple(
        Feature(name, DType.FLOAT32)
        for name in (
            "temperature",
            "dew_point",
            "sea_level_pressure",
            "visibility",
            "wind_speed",
            "max_sustained_wind_speed",
            "min_temperature",
            "max_temperature",
        )
    ),
    inputs=(
        ModelInput(
            "features",
            (
                "temperature",
                "dew_point",
                "sea_level_pressure",
                "visibility",
                "wind_speed",
                "max_sustained_wind_speed",
                "min_temperature",
                "max_temperature",
            ),
        ),
    ),
    task=Task.BINARY,
    score_output="scores",
    classes=("no", "yes"),
)
"""What the model of the weather example reads: eight standardised measurements of a day."""


def deployment_schema() -> str:
    """JSON Schema of the deployment document. What fields must agree on is beyond it; the code says that."""
    schema = Deployment.model_json_schema()
    return text({"$schema": DIALECT, "$id": "urn:millrace:deployments:1", **without_titles(schema)})


def models_schema() -> str:
    """JSON Schema of the registry's entries."""
    entry: TypeAdapter[Entry | TransformEntry] = TypeAdapter(
        Annotated[Entry | TransformEntry, Field(discriminator="kind")]
    )
    head = {"$schema": DIALECT, "$id": "urn:millrace:models:1", "title": "Registry entry"}
    return text({**head, **without_titles(entry.json_schema())})


def transform_schema() -> str:
    """JSON Schema of a transform's document."""
    return text({"$id": "urn:millrace:transform:1", **without_titles(transforms.json_schema())})


def retraining_schema() -> str:
    """JSON Schema of retrain requests and their answers."""
    head = {"$schema": DIALECT, "$id": "urn:millrace:retrain-requests:1", "title": "Record of a loop"}
    return text({**head, **without_titles(ADAPTER.json_schema())})


def weather_schema() -> str:
    """JSON Schema of the weather stream."""
    return text({"$id": "urn:millrace:features:1", **json_schema(WEATHER, title="A day's weather")})


def weather_avro_schema() -> str:
    """Avro schema of the weather stream."""
    return text(avro_schema(WEATHER, name="Weather"))


def without_titles(schema: Any) -> Any:  # noqa: ANN401 -- JSON
    """A schema without pydantic's titles, which repeat the names of the fields."""
    match schema:
        case {"title": str(), **rest} if "type" in schema or "anyOf" in schema:
            return without_titles(rest)
        case dict():
            return {name: without_titles(value) for name, value in schema.items()}
        case list():
            return list(map(without_titles, schema))
        case _:
            return schema


def text(document: object) -> str:
    """The document as the file that people review."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
