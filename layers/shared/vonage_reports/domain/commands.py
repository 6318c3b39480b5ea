"""The commands of `vonage-reports` that send an operator's events."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

PROGRAM = "vonage-reports"


def command_for(event: Mapping[str, Any], *, stack: str | None = None) -> str | None:
    """Return the shell command that sends an event of one stack, or None if no verb sends it.

    Omit the token of a recollection, because `recollect` finds the token of the last failure.
    """
    ((key, value),) = event.items()
    if key not in _ARGUMENTS:
        return None
    name, options = _ARGUMENTS[key](value)
    verb = verb_of(key)
    target = ["--stack", stack] if stack else []
    arguments = [*([name] if name else []), *options]
    if name.startswith("-"):
        # It would be read as an option.
        arguments = [*options, "--", name]
    return shlex.join([PROGRAM, *target, verb, *arguments])


_Arguments = tuple[str, list[str]]
"""The name that a verb takes, if any, and its options."""


def _recollect(value: Mapping[str, Any]) -> _Arguments:
    # The program finds out whether the window is delivered, so it needs no confirmation.
    return value["report_id"], _dry_run(value)


def _resolve(value: Mapping[str, Any]) -> _Arguments:
    hold = ["--hold", str(value["hold"])] if value.get("hold") is not None else []
    found = ["--found", value["request_id"]] if value["request_id"] else ["--not-there"]
    return value["report_id"], [*found, *hold]


def _reconvert(value: Mapping[str, Any]) -> _Arguments:
    accepted = ",".join(value.get("accept", ()))
    return value["report_id"], ["--accept", accepted] if accepted else []


def _backfill(value: Mapping[str, Any]) -> _Arguments:
    confirm = ["--confirm-cost"] if value.get("confirm") else []
    range_ = ["--from", value["start"], "--until", value["end"]]
    account = ["--account", value["account_id"]] if value.get("account_id") else []
    return value["definition"], [*range_, *account, *confirm, *_dry_run(value)]


def _dry_run(value: Mapping[str, Any]) -> list[str]:
    return ["--dry-run"] if value.get("dry_run") else []


def verb_of(key: str) -> str:
    """Return the verb of the program that sends an event with this key."""
    return _VERBS.get(key, key)


_VERBS: Mapping[str, str] = {"scheduled_time": "collect", "withdraw_windows": "withdraw"}
"""The verbs that have another name than their event."""


def _withdraw_windows(value: Mapping[str, Any]) -> _Arguments:
    range_ = ["--from", value["start"], "--until", value["end"]]
    return value["definition"], ["--account", value["account_id"], *range_]


_ARGUMENTS: Mapping[str, Callable[[Any], _Arguments]] = {
    "scheduled_time": lambda value: ("", ["--at", value]),
    "sweep": lambda _: ("", []),
    "recollect": _recollect,
    "reconvert": _reconvert,
    "resolve": _resolve,
    "withdraw": lambda value: (value["report_id"], []),
    "withdraw_windows": _withdraw_windows,
    "cancel": lambda value: (value["backfill"], []),
    "backfill": _backfill,
}
