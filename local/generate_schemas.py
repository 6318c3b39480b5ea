"""Writes the JSON Schemas in docs/schemas/ that pydantic models define: definitions and events.

`make fmt` runs this module. The schemas of manifest, receipt and notification are written by hand,
and tests hold them to every object that the tests make.
"""

import inspect
import json
from collections.abc import Iterator, Mapping
from typing import Any

from local.stack.emulator import ROOT
from vonage_reports.submit_reports.read_definitions import definitions_schema
from vonage_reports.submit_reports.requests import REQUESTS, Request

FOLDER = ROOT / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"

_TIME_WITH_OFFSET = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
_RUN_ENDED = {
    "title": "run ended",
    "description": "EventBridge's event of a run's status change. Its content is not read.",
    "type": "object",
    "properties": {"source": {"const": "aws.states"}},
    "required": ["source"],
}
_UNDELIVERED = {
    "title": "undelivered",
    "description": "The record of an event in the queue of undelivered events, as Lambda wrote it.",
    "type": "object",
    "properties": {"requestPayload": {"$ref": "#"}, "requestContext": {"type": "object"}},
    "required": ["requestPayload"],
    "not": {"properties": {"source": {"const": "aws.states"}}, "required": ["source"]},
}


def generated() -> dict[str, dict[str, Any]]:
    """Return the generated schemas, by the name of their file."""
    return {
        "definitions.schema.json": {
            "$id": identifier("definitions"),
            **definitions_schema(),
        },
        "events.schema.json": _events_schema(),
    }


def identifier(name: str, version: int = 1) -> str:
    """Return the `$id` of a schema. A new version accepts what the version before refused."""
    return f"urn:vonage-usage-reports:schema:{name}:{version}"


def _events_schema() -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    events = [_event(key, model, definitions) for key, model in REQUESTS.items()]
    return {
        "$schema": DIALECT,
        "$id": identifier("events"),
        "title": "Events for submit_reports",
        "oneOf": [*events, _RUN_ENDED, _UNDELIVERED],
        "$defs": definitions,
    }


def _event(key: str, model: type[Request], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an event, and add what it refers to to `definitions`."""
    schema = model.model_json_schema()
    definitions.update(schema.pop("$defs", {}))
    described = {"title": key, "description": (inspect.getdoc(model) or "").partition("\n")[0]}
    # The schedules' events are flat: {"sweep": true}.
    fields = schema["properties"] if key in model.model_fields else {key: _fields(schema)}
    return {
        **described,
        "type": "object",
        "properties": {name: dict(_untitled(each)) for name, each in fields.items()},
        "required": [key],
        "additionalProperties": False,
    }


def _fields(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an event's value without the names of Python's classes."""
    value = {name: each for name, each in schema.items() if name not in ("title", "description")}
    value["properties"] = {
        name: dict(_untitled(each)) for name, each in schema["properties"].items()
    }
    return value


def _untitled(field: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in field.items() if name != "title")
    if field.get("format") == "date-time":
        # Few validators check this format.
        yield "pattern", _TIME_WITH_OFFSET


def written(schema: Mapping[str, Any]) -> str:
    """Return the text of a schema's file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the generated schemas."""
    for name, schema in generated().items():
        (FOLDER / name).write_text(written(schema))


if __name__ == "__main__":
    main()
