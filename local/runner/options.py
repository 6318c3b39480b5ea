"""The options of `make run`: environment variables, validated before anything starts."""

import hashlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vonage_reports.aws.definitions_source import MOST_BYTES
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.windows import format_instant, parse_instant
from vonage_reports.submit_reports.read_definitions import MOST_DEFINITIONS
from vonage_reports.submit_reports.requests import is_dry_run, parse_event
from vonage_reports_cli.errors import BadInput

VONAGE = "https://api.nexmo.com"

# Poll every 0.2 s instead of 20 s, and sweep every 3 s instead of 5 minutes.
SIMULATOR_WAIT_SCALE = 0.01

_BASE_URL = re.compile(
    r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?/*", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True)
class Server:
    """A server that speaks Vonage's Reports API, and the credentials for it."""

    url: str
    api_key: str
    api_secret: str

    def __repr__(self) -> str:
        return f"Server({self.url!r}, {self.api_key!r})"

    @property
    def is_on_loopback(self) -> bool:
        """Whether the server runs on this machine, where nothing is billed."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def name(self) -> str:
        """The name of the folder for the saved state of this server and API key."""
        host = urlsplit(self.url).hostname or ""
        digest = hashlib.sha256(f"{self.url}\n{self.api_key}".encode()).hexdigest()
        return f"{host}-{digest[:12]}"


@dataclass(frozen=True)
class Options:
    """The options of a run.

    `server` is None for the simulator. `event` is None for the calendar's event. `shows_keys`: the
    summary has the keys of archives and manifests.
    """

    server: Server | None
    event: Mapping[str, Any] | None
    definitions: str | None
    scheduled_time: str
    wait_scale: float
    confirmed: bool
    shows_keys: bool

    @property
    def is_dry_run(self) -> bool:
        """Whether the event is a dry run."""
        return self.event is not None and is_dry_run(parse_event(dict(self.event)))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, now: datetime) -> "Options":
        """Read the variables. An empty variable counts as unset. Raises BadInput."""
        given = {name: value for name, value in environment.items() if value}
        server = _server(given)
        if "EVENT" in given and "SCHEDULED_TIME" in given:
            raise BadInput(
                "set only one of EVENT and SCHEDULED_TIME: EVENT replaces the scheduled event"
            )
        return cls(
            server=server,
            event=_event(given.get("EVENT")),
            definitions=_definitions(given.get("DEFINITIONS")),
            scheduled_time=_scheduled_time(given.get("SCHEDULED_TIME"), now),
            wait_scale=_wait_scale(
                given.get("WAIT_SCALE"), 1 if server is not None else SIMULATOR_WAIT_SCALE
            ),
            confirmed=is_yes(given.get("CONFIRM", "")),
            shows_keys=_switch("KEYS", given.get("KEYS", "0")),
        )


def is_yes(text: str) -> bool:
    """Whether the text means yes."""
    return text.strip().lower() in ("yes", "y")


def _switch(name: str, text: str) -> bool:
    if text not in ("0", "1"):
        raise BadInput(f"{name} is {text!r}: use 1 for yes, or leave it out")
    return text == "1"


def _server(given: Mapping[str, str]) -> Server | None:
    url = given.get("VONAGE_BASE_URL")
    key, secret = given.get("VONAGE_API_KEY"), given.get("VONAGE_API_SECRET")
    if url is None and key is None and secret is None:
        return None
    for name in ("VONAGE_API_KEY", "VONAGE_API_SECRET"):
        if name not in given:
            raise BadInput(f"{name} is not set: every server except the simulator needs it")
    assert key is not None
    assert secret is not None
    server = Server(_base_url(VONAGE if url is None else url), key, secret)
    if server.url.startswith("http://") and not server.is_on_loopback:
        raise BadInput("VONAGE_BASE_URL must start with https: credentials go over https only")
    return server


def _base_url(text: str) -> str:
    """Return the URL in a normalized form, so that two spellings of one server are equal.

    Raises BadInput. The message omits the text, which may contain a password.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        port = 0
    if port == 0 or not _BASE_URL.fullmatch(text):
        raise BadInput(
            f"VONAGE_BASE_URL must be a scheme, a host and an optional port, such as {VONAGE}"
        )
    url = text.rstrip("/").lower()
    return url.removesuffix(":443") if url.startswith("https:") else url.removesuffix(":80")


def _event(path: str | None) -> Mapping[str, Any] | None:
    if path is None:
        return None
    event = _read_json("EVENT", path)
    if not isinstance(event, dict):
        raise BadInput(f"EVENT: {path} does not hold a JSON object")
    if "entry" in event or "report" in event:
        raise BadInput(f"EVENT: {path} is the input of a workflow state, not of submit_reports")
    try:
        parse_event(event)
    except InvalidRequest as error:
        raise BadInput(f"EVENT: {path}: {error}") from error
    return event


def _definitions(path: str | None) -> str | None:
    if path is None:
        return None
    definitions = _read_json("DEFINITIONS", path)
    if not isinstance(definitions, list):
        raise BadInput(f"DEFINITIONS: {path} does not hold a JSON list")
    if not definitions:
        raise BadInput(f"DEFINITIONS: {path} has no report definition")
    text = json.dumps(definitions, separators=(",", ":"))
    if len(text.encode()) > MOST_BYTES or len(definitions) > MOST_DEFINITIONS:
        raise BadInput(
            f"DEFINITIONS: shorten {path}: at most {MOST_DEFINITIONS:,} definitions of "
            f"{MOST_BYTES:,} bytes are possible"
        )
    return text


def _read_json(name: str, path: str) -> object:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise BadInput(f"{name}: {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{name}: {path} is not JSON: {error}") from error


def _scheduled_time(text: str | None, now: datetime) -> str:
    if text is None:
        return format_instant(now.astimezone(UTC))
    try:
        # On Linux, strftime writes the year 1 with one digit.
        return parse_instant(text).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"SCHEDULED_TIME is {text!r}: use a time like 2026-11-22T02:15:00Z"
        ) from error


def _wait_scale(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        scale = float(text)
    except ValueError:
        scale = float("nan")
    if not 0 <= scale <= 1:
        raise BadInput(f"WAIT_SCALE is {text!r}: use a number from 0 to 1")
    return scale
