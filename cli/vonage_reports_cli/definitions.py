"""The report definitions of a stack: the live text, its checks, and its differences to another."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from vonage_reports.aws.definitions_source import (
    MOST_BYTES,
    WrittenDefinitions,
    replacing_metadata,
    text_of,
)
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.definitions import (
    SUBACCOUNTS,
    Refusal,
    ReportDefinition,
    change_of,
    warnings_of,
)
from vonage_reports.domain.objects import DEFINITIONS_KEY
from vonage_reports.domain.windows import format_instant
from vonage_reports.submit_reports.read_definitions import (
    EVERY_DEFINITION,
    accepted_definitions,
    parse_definitions,
)
from vonage_reports_cli.errors import Attention, BadInput
from vonage_reports_cli.status.model import THE_API_KEY

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

    from vonage_reports_cli.stack import DeployedStack

NO_WORK = OpenWork((), {}, frozenset())
NO_CALENDAR = Calendar({}, {}, {})

_CONFLICTS = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"})
"""S3's error codes for a conditional write if the object is another one by now."""

_MOST_VERSIONS = 20


@dataclass(frozen=True)
class Live:
    """The definitions that count now. `etag` and `version_id` are None without an object."""

    written: WrittenDefinitions
    etag: str | None
    version_id: str | None


def read_live(stack: "DeployedStack") -> Live:
    """Read the object, or the template's parameter if there is no object."""
    found = _get(stack, {})
    if found is None:
        return Live(stack.definitions.read(), None, None)
    with found["Body"] as body:
        text = text_of(body.read(MOST_BYTES + 1))
    written = WrittenDefinitions(
        text, found["LastModified"], f"the object {stack.definitions.uri}", is_object=True
    )
    return Live(written, found["ETag"], found.get("VersionId", "null"))


def read_version(stack: "DeployedStack", version_id: str) -> Live:
    """Read a version of the object. Raises BadInput if there is none."""
    try:
        found = _get(stack, {"VersionId": version_id})
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("NoSuchVersion", "InvalidArgument"):
            raise
        found = None
    if found is None:
        raise BadInput(
            f"{version_id}: the report definitions have no such version; `definitions history` "
            "lists them"
        )
    with found["Body"] as body:
        text = text_of(body.read(MOST_BYTES + 1))
    place = f"version {version_id} of the object {stack.definitions.uri}"
    written = WrittenDefinitions(text, found["LastModified"], place, is_object=True)
    return Live(written, found["ETag"], version_id)


def _get(stack: "DeployedStack", version: Mapping[str, Any]) -> "GetObjectOutputTypeDef | None":
    try:
        return stack.s3.get_object(Bucket=stack.bucket.name, Key=DEFINITIONS_KEY, **version)
    except stack.s3.exceptions.NoSuchKey:
        return None


def write(stack: "DeployedStack", text: str, over: Live, *, replaces_all: bool) -> str:
    """Write the object over the definitions that the operator saw; return the new version id.

    Raises Attention, having written nothing, if they are others by now.
    """
    condition: Any = {"IfNoneMatch": "*"} if over.etag is None else {"IfMatch": over.etag}
    try:
        answer = stack.s3.put_object(
            Bucket=stack.bucket.name,
            Key=DEFINITIONS_KEY,
            Body=text.encode(),
            ContentType="application/json",
            Metadata=replacing_metadata() if replaces_all else {},
            **condition,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in _CONFLICTS:
            raise
        raise Attention(
            "another operator or a pipeline changed the report definitions meanwhile, so nothing "
            "was written; `definitions diff` shows the difference"
        ) from error
    return answer.get("VersionId", "null")


@dataclass(frozen=True)
class Version:
    """A version of the object. `count` is how many entries it has, None if it is no list."""

    version_id: str
    changed_at: datetime
    is_current: bool
    count: int | None

    def to_dict(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "version_id": self.version_id,
            "changed_at": format_instant(self.changed_at),
            "is_current": self.is_current,
            "definitions": self.count,
        }


def versions(stack: "DeployedStack", *, most: int = _MOST_VERSIONS) -> Iterator[Version]:
    """Yield the versions of the object, newest first. Reads each one."""
    pages = stack.s3.get_paginator("list_object_versions").paginate(
        Bucket=stack.bucket.name, Prefix=DEFINITIONS_KEY
    )
    listed = [
        each
        for page in pages
        for each in page.get("Versions", [])
        if each["Key"] == DEFINITIONS_KEY
    ]
    listed.sort(key=lambda each: (each["IsLatest"], each["LastModified"]), reverse=True)
    for each in listed[:most]:
        live = read_version(stack, each["VersionId"])
        yield Version(
            each["VersionId"],
            each["LastModified"],
            each["IsLatest"],
            count_of(live.written.text),
        )


def count_of(text: str) -> int | None:
    """Return how many entries a text of definitions has, or None if it is no list."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return len(entries) if isinstance(entries, list) else None


@dataclass(frozen=True)
class Checked:
    """A text of definitions, as submit_reports would take it.

    `needs_replace_all`: the text has none of the collected definitions, so that submit_reports
    takes it only from an object that says that it replaces them all.
    """

    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    warnings: Sequence[str]
    needs_replace_all: bool


def checked(
    written: WrittenDefinitions,
    work: OpenWork = NO_WORK,
    calendar: Calendar = NO_CALENDAR,
    *,
    api_key: str = THE_API_KEY,
) -> Checked:
    """Check definitions with the rules of submit_reports, and against the ledger.

    A definition that changed under its name is refused.
    """
    taken = accepted_definitions(
        replace(written, replaces_all=True), work, calendar, api_key=api_key
    )
    guarded = accepted_definitions(written, work, calendar, api_key=api_key)
    changed = [
        refusal
        for each in taken.definitions
        if (refusal := change_of(each, calendar.collects.get(each.name))) is not None
    ]
    names = {each.definition for each in changed}
    return Checked(
        definitions=[each for each in taken.definitions if each.name not in names],
        refusals=[*taken.refusals, *changed],
        warnings=warnings_of(taken.definitions),
        needs_replace_all=taken.is_readable and not guarded.is_readable,
    )


_WHOLE = frozenset({EVERY_DEFINITION, "(JSON)", "(list)"})
"""The names in a refusal of the whole text or of a whole entry."""


def told(refusal: Refusal) -> str:
    """Return a refusal as a sentence that names the definition and the field, if it has them."""
    names = [each for each in (refusal.definition, refusal.field) if each not in _WHOLE]
    return f"{', '.join(names)}: {refusal.reason}" if names else refusal.reason


def known_api_key(written: WrittenDefinitions, calendar: Calendar) -> str:
    """Return the API key, which is the account of a definition without account_ids.

    Only the secret holds it, but the ledger has the accounts that were collected. Without any,
    return a placeholder.
    """
    definitions, _ = parse_definitions(
        written.text, api_key=THE_API_KEY, established=calendar.collects
    )
    names = {
        each.name
        for each in definitions
        if THE_API_KEY in each.account_ids and each.followed is None
    }
    ends = [
        (end, account_id)
        for (name, account_id, _), end in calendar.cursors.items()
        if name in names
    ]
    if not ends and calendar.latest_subaccounts is not None:
        return calendar.latest_subaccounts.primary
    return max(ends)[1] if ends else THE_API_KEY


@dataclass(frozen=True)
class Change:
    """One difference between two lists: `kind` is added, removed or changed."""

    kind: str
    name: str
    details: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return asdict(self)


def changes(
    before: str, after: str, *, established: Mapping[str, str] | None = None
) -> list[Change]:
    """Return the differences between two texts of definitions, by name.

    `established` has the names that have collected before, and their first `collects`.
    """
    old, new = _by_name(before, established), _by_name(after, established)
    added = [Change("added", name, _described(new[name])) for name in new if name not in old]
    changed = [
        Change("changed", name, details)
        for name in new
        if name in old and (details := ", ".join(_field_changes(old[name], new[name])))
    ]
    removed = [Change("removed", name, _described(old[name])) for name in old if name not in new]
    return [*added, *changed, *removed]


def _by_name(
    text: str, established: Mapping[str, str] | None
) -> dict[str, ReportDefinition | Refusal]:
    definitions, refusals = parse_definitions(text, api_key=THE_API_KEY, established=established)
    return {
        **{each.definition: each for each in refusals},
        **{each.name: each for each in definitions},
    }


def _described(entry: ReportDefinition | Refusal) -> str:
    if isinstance(entry, Refusal):
        field = "" if entry.field in _WHOLE else f", {entry.field}"
        return f"refused{field}: {entry.reason}"
    direction = f", {entry.filters['direction']}" if "direction" in entry.filters else ""
    return f"{entry.product}{direction}, each {entry.window}"


def _field_changes(
    old: ReportDefinition | Refusal, new: ReportDefinition | Refusal
) -> Iterator[str]:
    if isinstance(old, Refusal) or isinstance(new, Refusal):
        if old != new:
            yield f"{_described(new)} (before: {_described(old)})"
        return
    former = _as_written(old)
    for field, after in _as_written(new).items():
        before = former[field]
        if before != after:
            # A filter's value may be a phone number.
            yield field if field == "filters" else f"{field} {_shown(before)} -> {_shown(after)}"


def _as_written(definition: ReportDefinition) -> dict[str, Any]:
    fields = asdict(definition)
    if fields.pop("followed") is not None:
        fields["account_ids"] = SUBACCOUNTS
    return fields


def _shown(value: object) -> str:
    return json.dumps(value, default=str) if value is not None else "none"


def line_diff(before: str, after: str) -> list[str]:
    """Return the unified diff of two texts, each with one field in a line."""
    return list(
        difflib.unified_diff(_pretty(before), _pretty(after), "live", "new", lineterm="", n=3)
    )


def _pretty(text: str) -> list[str]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return text.splitlines()
    return list(_fields(entries)) if isinstance(entries, list) else text.splitlines()


def _fields(entries: Sequence[object]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, dict):
            for number, (name, value) in enumerate(entry.items()):
                shown = f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
                yield f"{'  ' if number else '{ '}{shown}"
            yield "}"
        else:
            yield json.dumps(entry, ensure_ascii=False)
