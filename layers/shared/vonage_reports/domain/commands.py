"""The commands of `vonage-reports` that send an operator's events."""

import shlex
from collections.abc import Mapping
from typing import Any

PROGRAM = "vonage-reports"


def command_for(event: Mapping[str, Any], *, stack: str | None = None) -> str | None:
    """Return the shell command that sends an event of one stack, or None if no verb sends it.

    Omit the token of a recollection, because `recollect` finds the token of the last failure.
    """
    ((key, value),) = event.items()
    arguments = _ARGUMENTS[key](value) if key in _ARGUMENTS else None
    if arguments is None:
        return None
    target = ["--stack", stack] if stack else []
    return shlex.join([PROGRAM, *target, key if key != "scheduled_time" else "collect", *arguments])


def _resolve(value: Mapping[str, Any]) -> list[str]:
    hold = ["--hold", str(value["hold"])] if value.get("hold") is not None else []
    found = ["--found", value["request_id"]] if value["request_id"] else ["--not-there"]
    return [value["report_id"], *found, *hold]


def _reconvert(value: Mapping[str, Any]) -> list[str]:
    accepted = ",".join(value.get("accept", ()))
    return [value["report_id"], *(["--accept", accepted] if accepted else [])]


_ARGUMENTS = {
    "scheduled_time": lambda value: ["--at", value],
    "sweep": lambda _: [],
    "recollect": lambda value: [value["report_id"]],
    "reconvert": _reconvert,
    "resolve": _resolve,
    "withdraw": lambda value: [value["report_id"]],
    "cancel": lambda value: [value["backfill"]],
    "backfill": lambda value: [
        *(value["definition"], "--from", value["start"], "--until", value["end"])
    ],
}
