"""Package the template and its code for the emulator, as `sam package` does for AWS.

The emulator's own Python executor turns every exception into `Runtime.HandlerError`, so no Retry of
the workflow would match. The emulator runs AWS's Lambda runtime client only for custom runtimes.
Therefore this local copy of the template, and only this copy, sets `provided.al2023`. Each function
gets a `bootstrap` that runs the client in our virtual environment.
"""

import hashlib
import io
import json
import shlex
import stat
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from local.stack.template import read_template

FUNCTION = "AWS::Serverless::Function"
LAYER = "AWS::Serverless::LayerVersion"
STATE_MACHINE = "AWS::Serverless::StateMachine"
NAMED_QUERY = "AWS::Athena::NamedQuery"

CODE_PROPERTY = {FUNCTION: "CodeUri", LAYER: "ContentUri", STATE_MACHINE: "DefinitionUri"}

CALLBACK_SECONDS = 5
"""How long a run waits for a callback on the emulator, which takes a fixed number only. The factor
of the emulator's waits does not shorten it."""

# The oldest date that a ZIP can hold. With a fixed date, equal code gives equal bytes.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


class Package:
    """The template for the emulator, and the artifacts that it refers to.

    `environment` adds variables to every function.
    """

    def __init__(self, root: Path, *, bucket: str, environment: Mapping[str, str]) -> None:
        self.artifacts: dict[str, bytes] = {}
        self.template = read_template(root / "template.yaml")
        # The emulator has no named queries.
        for name, _ in list(self._of(NAMED_QUERY)):
            del self.template["Resources"][name]
        layers = [root / resource["Properties"]["ContentUri"] for _, resource in self._of(LAYER)]
        bootstrap = _bootstrap(layers, environment)
        for name, resource in self._of(*CODE_PROPERTY):
            properties, kind = resource["Properties"], resource["Type"]
            source = root / properties[CODE_PROPERTY[kind]]
            if kind == STATE_MACHINE:
                suffix, content = "json", _definition(source).encode()
            elif kind == LAYER:
                suffix, content = "zip", _zip(source)
            else:
                suffix, content = "zip", _zip(source, bootstrap=bootstrap)
                properties["Runtime"] = "provided.al2023"
            # As in `sam package`, changed content gets a new key, so an update deploys the content.
            key = f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.{suffix}"
            self.artifacts[key] = content
            properties[CODE_PROPERTY[kind]] = {"Bucket": bucket, "Key": key}
            if kind != STATE_MACHINE:
                properties[CODE_PROPERTY[kind]] = f"s3://{bucket}/{key}"

    def _of(self, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for name, resource in self.template["Resources"].items():
            if resource["Type"] in kinds:
                yield name, resource


def _bootstrap(layers: list[Path], environment: Mapping[str, str]) -> str:
    """Return the script that Lambda starts in a custom runtime.

    The packages of the layers are in our virtual environment, locked to the same versions.
    """
    first = [environment["PYTHONPATH"]] if "PYTHONPATH" in environment else []
    path = ":".join([*first, *(str(layer) for layer in layers)])
    exports = {**environment, "PYTHONPATH": path}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    command = f'exec {shlex.quote(sys.executable)} -m awslambdaric "$_HANDLER"'
    # The functions inherit the emulator's LOG_LEVEL, which would change Powertools' log level.
    return "\n".join(["#!/bin/sh", "unset LOG_LEVEL", *lines, command, ""])


def _definition(source: Path) -> str:
    """Return the workflow as JSON, because the emulator cannot read YAML."""
    definition = yaml.safe_load(source.read_text())
    for state in definition["States"].values():
        resource = state.get("Resource", "")
        if resource.endswith(":states:::sns:publish"):
            _write_out_attributes(state["Arguments"])
        elif resource.endswith(".waitForTaskToken"):
            state["TimeoutSeconds"] = CALLBACK_SECONDS
    return json.dumps(definition)


def _write_out_attributes(arguments: dict[str, Any]) -> None:
    """Name a message's attributes as in SNS's wire protocol. The emulator does not."""
    for number, (name, value) in enumerate(arguments.pop("MessageAttributes", {}).items(), 1):
        entry = f"MessageAttributes.entry.{number}"
        arguments[f"{entry}.Name"] = name
        for part, content in value.items():
            arguments[f"{entry}.Value.{part}"] = content


def _zip(folder: Path, *, bootstrap: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                _add(archive, str(path.relative_to(folder)), path.read_bytes(), mode=0o644)
        if bootstrap is not None:
            _add(archive, "bootstrap", bootstrap.encode(), mode=0o755)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes, *, mode: int) -> None:
    member = zipfile.ZipInfo(name, _NO_DATE)
    member.external_attr = (stat.S_IFREG | mode) << 16
    archive.writestr(member, content)
