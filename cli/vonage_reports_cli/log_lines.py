"""Log events of the functions, as one line each."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vonage_reports_cli.errors import BadInput

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d{1,6})([smhd])")

_NOISE = frozenset({
    "level", "message", "timestamp", "location", "service", "cold_start", "stack_trace",
    "function_name", "function_memory_size", "function_arn", "function_request_id",
    "xray_trace_id", "sampling_rate",
})  # fmt: skip
"""Fields of Powertools that say nothing about a report. `exception` has the stack trace too."""

_DERIVED = frozenset({"definition", "execution"})
"""Fields that repeat the report_id, so that a line leaves them out."""

_LAMBDAS_OWN = re.compile(r"(START|END|REPORT|INIT_START|XRAY|EXTENSION)\b")

_SOUND = frozenset({"success", None})
"""The status of an invocation that neither failed nor timed out."""


@dataclass(frozen=True)
class LogLine:
    """One line: its time, level, function and message, and the other fields of the log."""

    at: datetime
    level: str
    function: str
    message: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The line for a terminal. The caller makes it printable."""
        named = [
            f"{name}={_value(name, value)}"
            for name, value in self.fields.items()
            if value not in ([], {}, "") and not (name in _DERIVED and "report_id" in self.fields)
        ]
        return "  ".join(
            [
                f"{self.at:%Y-%m-%d %H:%M:%S}",
                f"{self.level:<8}",
                f"{self.function:<7}",
                " ".join([self.message, *named]),
            ]
        )

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "time": self.at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            **{name: getattr(self, name) for name in ("level", "function", "message")},
            "fields": dict(self.fields),
        }


def log_line(event: Mapping[str, Any], function: str) -> LogLine | None:
    """Return an event of CloudWatch Logs as a line.

    Return None for a metric, and for Lambda's own lines about invocations that did not fail.
    """
    at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
    message = str(event["message"]).rstrip()
    try:
        value = json.loads(message)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        if _LAMBDAS_OWN.match(message) and "Status: " not in message:
            return None
        return LogLine(at, "", function, message)
    if "_aws" in value:
        return None
    if str(value.get("type", "")).startswith("platform."):
        return _platform_line(at, function, value)
    fields = {name: each for name, each in value.items() if name not in _NOISE and each is not None}
    # Lambda writes the errors of its runtime with other names than Powertools.
    said = value.get("message") or value.get("errorMessage") or ""
    return LogLine(at, str(value.get("level", "")), function, str(said), fields)


def _platform_line(at: datetime, function: str, value: Mapping[str, Any]) -> LogLine | None:
    record = value.get("record")
    record = record if isinstance(record, dict) else {}
    if record.get("status") in _SOUND:
        return None
    kind = str(value["type"]).removeprefix("platform.")
    names = ("errorType", "requestId")
    fields = {name: record[name] for name in names if record.get(name) is not None}
    return LogLine(at, "ERROR", function, f"{kind} {record['status']}", fields)


def _value(name: str, value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    # The last line of a traceback has the error.
    return value.strip().splitlines()[-1] if name == "exception" and value.strip() else value


def seconds_of(text: str) -> int:
    """Return the seconds of a span such as `90s`, `30m`, `1h` or `2d`. Raises BadInput."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise BadInput(f"--since takes a span such as 30m, 1h or 2d, not {text!r}")
    return int(found[1]) * _UNITS[found[2]]
