"""`logs`: the logs of the functions, merged by time."""

import heapq
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.log_lines import LogLine, log_line, seconds_of
from vonage_reports_cli.session import Session, verb
from vonage_reports_cli.stack import DeployedStack

GROUPS: Mapping[str, str] = {
    "submit": "SubmitReportsLogs",
    "check": "CheckReportLogs",
    "store": "StoreReportLogs",
    "convert": "ConvertReportLogs",
    "callback": "ReceiveCallbackLogs",
}
"""The logical id of each function's log group. `callback` depends on the setting Callback."""

_REPORT_ID = re.compile(r"[a-z0-9-]+-[0-9]{8}T[0-9]{4}Z-[0-9a-f]{12}")
_POLL_SECONDS = 2
_LATE_MS = 60_000
"""An event may become readable this much later than its time says."""
_MOST_REMEMBERED = 10_000

_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@verb(
    help="Show the logs of the functions, one line each, without metrics and without Lambda's "
    "lines about invocations that did not fail. --json has all fields."
)
@click.argument("function", required=False, type=click.Choice([*GROUPS]))
@click.option("--report", "report_id", metavar="ID", help="Only lines that name a report.")
@click.option("--since", default="1h", show_default=True, metavar="SPAN", help="Such as 30m or 2d.")
@click.option("--follow", is_flag=True, help="Wait for new lines until Ctrl-C.")
def logs(
    session: Session, function: str | None, *, report_id: str | None, since: str, follow: bool
) -> None:
    """Print the lines in the order of their times."""
    start = datetime.now(UTC) - timedelta(seconds=seconds_of(since))
    if report_id is not None and not _REPORT_ID.fullmatch(report_id):
        raise BadInput(
            f"--report takes a report_id such as sms-20261121T0000Z-0123456789ab, not {report_id!r}"
        )
    if follow and session.as_json:
        raise BadInput("--follow prints lines without end; leave --json out")
    calls_back = session.deployed.parameters.get("Callback", "off") != "off"
    if function == "callback" and not calls_back:
        raise BadInput(
            "the stack has no function for callbacks, because the setting Callback is off"
        )
    there = [each for each in GROUPS if each != "callback" or calls_back]
    reader = _Reader(session.deployed, [function] if function else there, report_id)
    if session.as_json:
        found = [line.to_dict() for line in reader.lines(start)]
        session.screen.document({"source": session.deployed.source, "lines": found})
        return
    session.screen.say(session.deployed.source)
    count = 0
    for line in reader.lines(start):
        count += 1
        _print(session, line)
    if not count:
        session.screen.note(f"No line since {start:%Y-%m-%d %H:%M:%S} UTC.")
    if report_id is not None:
        session.screen.note(
            f"Lambda's own lines about an error name no report: show {report_id} has the error."
        )
    while follow and not session.screen.is_cut:
        time.sleep(_POLL_SECONDS)
        for line in reader.new_lines():
            _print(session, line)


def _print(session: Session, line: LogLine) -> None:
    session.screen.say(printable(line.text), style=_STYLES.get(line.level))


class _Reader:
    """Reads the log groups of functions. Remembers the events of the last minute."""

    def __init__(
        self, stack: DeployedStack, functions: Sequence[str], report_id: str | None
    ) -> None:
        self._client = stack.client("logs")
        self._groups = {each: stack.physical_id(GROUPS[each]) for each in functions}
        self._report_id = report_id
        self._seen: dict[str, int] = {}
        self._newest = 0

    def lines(self, since: datetime) -> Iterator[LogLine]:
        """Yield the lines since an instant, oldest first. Raises botocore's errors."""
        return self._since(int(since.timestamp() * 1000))

    def new_lines(self) -> Iterator[LogLine]:
        """Yield the lines that became readable since the last call, oldest first."""
        return self._since(self._newest - _LATE_MS)

    def _since(self, start: int) -> Iterator[LogLine]:
        self._newest = max(self._newest, start)
        events = [self._events(function, start) for function in self._groups]
        for at, name, function, event in heapq.merge(*events):
            if name in self._seen:
                continue
            self._newest = max(self._newest, at)
            self._remember(name, at)
            line = log_line(event, function)
            if line is not None:
                yield line

    def _remember(self, name: str, at: int) -> None:
        self._seen[name] = at
        if len(self._seen) > _MOST_REMEMBERED:
            oldest = self._newest - _LATE_MS
            self._seen = {name: at for name, at in self._seen.items() if at >= oldest}

    def _events(
        self, function: str, start: int
    ) -> Iterator[tuple[int, str, str, Mapping[str, Any]]]:
        pattern = {} if self._report_id is None else {"filterPattern": f'"{self._report_id}"'}
        pages = self._client.get_paginator("filter_log_events").paginate(
            logGroupName=self._groups[function], startTime=start, **pattern
        )
        for page in pages:
            for event in page["events"]:
                if self._report_id is None or self._report_id in event["message"]:
                    yield event["timestamp"], _name(event), function, event


def _name(event: Mapping[str, Any]) -> str:
    """Return a name of the event. The emulator gives events no id."""
    content = f"{event['timestamp']} {event.get('logStreamName')} {event['message']}"
    return str(event.get("eventId") or content)
