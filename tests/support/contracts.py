"""The JSON objects that readers outside rely on, checked against the schemas in docs/schemas/.

The published schemas allow new fields. Here, a field that a schema does not describe is an error.
"""

import json
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "schemas"
WRITTEN_BY_HAND = ("manifest", "receipt", "notification", "period")
CHECKER = Draft202012Validator.FORMAT_CHECKER


def check(name: str, document: Any) -> None:
    """Check a document: name its schema, such as `manifest`, `receipt`, `events` or `definitions`.

    Raises jsonschema's ValidationError, which names the field.
    """
    _validator(name, None).validate(document)


def check_notification(body: dict[str, Any]) -> None:
    """Check the body of a notification, and the event that it names."""
    # The schema of the kind alone says which field is wrong. The whole schema says only that the
    # body is no notification.
    _validator("notification", body["event"]).validate(body)
    check("notification", body)
    if body.get("run_again") is not None:
        check("events", body["run_again"])


def schema(name: str) -> dict[str, Any]:
    """Return a published schema."""
    value: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text())
    return value


@cache
def _validator(name: str, kind: str | None) -> Draft202012Validator:
    # The generated schemas name the objects that take no other fields.
    closed = _closed(schema(name)) if name in WRITTEN_BY_HAND else schema(name)
    if kind is not None:
        closed = {**closed["$defs"][kind], "$defs": closed["$defs"]}
    Draft202012Validator.check_schema(closed)
    return Draft202012Validator(closed, format_checker=CHECKER)


def _closed(value: Any) -> Any:
    """Refuse the fields that a schema does not name."""
    if isinstance(value, list):
        return [_closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    closed = {name: _closed(each) for name, each in value.items()}
    if value.get("type") == "object" and "properties" in value:
        closed["additionalProperties"] = False
    return closed
