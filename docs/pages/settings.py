"""`docs/reference/settings.md`: every setting, from the models that read them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from docs.pages.markdown import GENERATED, code, table
from millrace.process.deployment import Deployment
from millrace.process.settings import Settings
from millrace_gateway.settings import PREFIX, GatewaySettings
from millrace_launcher.settings import (
    CONTAINERS_PREFIX,
    KUBERNETES_PREFIX,
    ContainerSettings,
    KubernetesSettings,
    LauncherSettings,
)
from millrace_launcher.settings import PREFIX as LAUNCHER_PREFIX
from millrace_trainer.settings import Training

ELSEWHERE: Final = (
    (
        "MILLRACE_CACHE",
        "Folder of what can be fetched again: the local broker's jars. By default the user's cache folder.",
    ),
    ("MILLRACE_MAVEN_REPOSITORY", "Mirror from which the local broker's jars are fetched."),
    ("MILLRACE_KEY", "The key that commands and clients show to a launcher; see `millrace keys`."),
    ("MILLRACE_KEY_FILE", "A file with that key, where `MILLRACE_KEY` is not set."),
    ("MILLRACE_DEBUG", "Set to anything: errors of the command line keep their traceback."),
    ("MILLRACE_TEST_BOOTSTRAP", "Broker that tests use instead of starting one."),
    ("NO_COLOR", "Set to anything: no colours."),
)
"""Variables that are read where they are needed, because they concern no service."""


def settings_page() -> str:
    """The page."""
    parts = [
        "# Settings",
        GENERATED,
        "## The deployment document",
        "One YAML or JSON file per deployment. These four lines are enough:",
        "```yaml\ndeployment: rain\nsource:\n  topic: weather.features\nmodel: weather@champion\n```",
        _sections(Deployment),
        "## The training document",
        "One YAML or JSON file per model that is trained again. These lines are enough:",
        "```yaml\nmodel: weather\nsource:\n  topic: weather.features\nlabels: weather.labels\n"
        "function:\n  name: rain.training:train\n  folders: [.]\n```",
        _sections(Training),
        "## The environment",
        "Every process reads these variables when it starts, and nothing after that.",
        _variables(Settings, "MILLRACE_"),
        "A launcher reads these as well:",
        _variables(LauncherSettings, LAUNCHER_PREFIX),
        "One whose runner is `container` reads these:",
        _variables(ContainerSettings, CONTAINERS_PREFIX),
        "One whose runner is `kubernetes` reads these:",
        _variables(KubernetesSettings, KUBERNETES_PREFIX),
        "A gateway reads these, too:",
        table(
            ("variable", "type", "default", "meaning"),
            (
                (code(f"{PREFIX}{'__'.join(path).upper()}"), *cells)
                for path, cells in _leaves(GatewaySettings.model_json_schema())
            ),
        ),
        "These concern the command line and tests alone:",
        table(("variable", "meaning"), ((code(name), meaning) for name, meaning in ELSEWHERE)),
    ]
    return "\n\n".join(parts) + "\n"


def _variables(model: type[BaseModel], prefix: str) -> str:
    """One table of the variables from which a model is read."""
    leaves = _leaves(model.model_json_schema())
    rows = ((code(f"{prefix}{'__'.join(path).upper()}"), *cells) for path, cells in leaves)
    return table(("variable", "type", "default", "meaning"), rows)


def _sections(model: type[BaseModel]) -> str:
    """One table for the model's own settings and one for each group of settings in it."""
    schema = model.model_json_schema()
    leaves = list(_leaves(schema))
    own = [(code(path[0]), *cells) for path, cells in leaves if len(path) == 1]
    sections = [table(("setting", "type", "default", "meaning"), own)]
    for name, property_schema in schema["properties"].items():
        rows = [
            (code(".".join(path)), *cells) for path, cells in leaves if len(path) > 1 and path[0] in {name, f"{name}[]"}
        ]
        if rows:
            group = _resolve(property_schema, schema["$defs"])
            group = _resolve(group.get("items", group), schema["$defs"])
            sections.append(f"### {name}\n\n{group['description']}")
            sections.append(table(("setting", "type", "default", "meaning"), rows))
    return "\n\n".join(sections)


def _leaves(schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], tuple[str, str, str]]]:
    """Path and cells of every setting that is not a group of settings, in the order of the models."""
    definitions = schema.get("$defs", {})

    def walk(
        group: Mapping[str, Any], prefix: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], tuple[str, str, str]]]:
        required = set(group.get("required", ()))
        for name, reference in group["properties"].items():
            setting = _resolve(reference, definitions)
            path = (*prefix, name)
            members = _resolve(setting.get("items", {}), definitions)
            if "properties" in setting:
                yield from walk(setting, path)
            elif "properties" in members:  # a list of groups
                yield from walk(members, (*prefix, f"{name}[]"))
            else:
                meaning = reference.get("description", setting.get("description", ""))
                yield path, (_type(setting, definitions), _default(reference, is_required=name in required), meaning)

    yield from walk(schema, ())


def _resolve(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema refers to, and what it is beside null."""
    if "$ref" in schema:
        resolved: Mapping[str, Any] = definitions[schema["$ref"].rpartition("/")[2]]
        return resolved
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    return _resolve(options[0], definitions) if len(options) == 1 else schema


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(_resolve(schema['items'], definitions), definitions)}"
    if schema.get("format") == "password":
        return "secret"
    if schema.get("format") == "path":
        return "path"
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    bounds = {
        (False, False): "",
        (True, False): f" from {low}",
        (True, True): f" {low} to {high}",
    }[(low is not None, high is not None)]
    names = {"object": "map", "string": "text", "number": "number", "integer": "integer", "boolean": "true or false"}
    return names[schema["type"]] + bounds


def _default(schema: Mapping[str, Any], *, is_required: bool) -> str:
    if is_required:
        return "required"
    default = schema.get("default")
    return "" if default in (None, {}) else code(default if isinstance(default, str) else json.dumps(default))
