"""The JSON documents of `vonage-reports ... --json`, checked against their schemas."""

import json
from typing import Any

import jsonschema
from referencing import Registry, Resource

from tests.support.paths import ROOT

_FOLDER = ROOT / "docs" / "schemas" / "cli"


def document_of(verb: str, text: str) -> dict[str, Any]:
    """Parse the one document of a verb, such as `definitions-put`, and check it."""
    value: dict[str, Any] = json.loads(text)
    schema = json.loads((_FOLDER / f"{verb}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(
        schema,
        format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        registry=_registry(),
    ).validate(value)
    return value


def _registry() -> Registry[Any]:
    """Return the schemas to which another one may refer, by their file names."""
    return Registry().with_resources(
        (path.name, Resource.from_contents(json.loads(path.read_text())))
        for path in _FOLDER.glob("*.json")
    )
