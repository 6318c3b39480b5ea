"""Reads the operator's report definitions, and accepts or refuses each definition.

Only submit_reports imports this module, so the other functions start without pydantic.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from vonage_reports.aws.definitions_source import MOST_BYTES, WrittenDefinitions
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.definitions import (
    DEFAULT_DELAY_DAYS,
    DEFAULT_MAX_RECORDS,
    GIVEN_TWICE,
    SUBACCOUNTS,
    Refusal,
    ReportDefinition,
    in_quotes,
)
from vonage_reports.domain.errors import InvalidRequest
from vonage_reports.domain.products import (
    PRODUCTS,
    filter_problem,
    known_filters,
    retention_problem,
)
from vonage_reports.domain.removal import Listing, Pair, listing_of, pair_of, removals_of
from vonage_reports.domain.subaccounts import UNKNOWN, Followed, Subaccounts
from vonage_reports.domain.windows import WindowLength
from vonage_reports.submit_reports.context import Services

MOST_DEFINITIONS = 2_000
"""How many definitions the list may have. A pass checks all of them."""

_MOST_QUOTED = 60

_MOST_NAMED = 20
"""How many accounts a sentence names."""

_LARGEST_NUMBER = 2**53 - 1
"""The workflow's expressions round larger numbers, as JSONata's numbers are doubles."""
_REMEMBERED = timedelta(days=70)
"""How long a sub-account that is gone stays among the accounts, after its last window is due. The
calendar may still plan its windows, and its last month may still be closed."""


_NO_ZONES = re.compile(r"(posix|right)/.*|localtime|posixrules|Factory", re.DOTALL)
"""Files beside the IANA zones: copies, links to a machine's own zone, and a placeholder."""


def _known_zone(name: str) -> str:
    try:
        ZoneInfo("" if _NO_ZONES.fullmatch(name) else name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is not an IANA time zone, such as Europe/London") from error
    return name


def _increasing(days: list[int]) -> list[int]:
    if sorted(set(days)) != days:
        raise ValueError("the days must increase; the last one is the final revision")
    return days


def _distinct(ids: list[str]) -> list[str]:
    if len({each.lower() for each in ids}) != len(ids):
        raise ValueError("the list has an account twice")
    return ids


_AccountId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]{1,40}$")]


def _filter_value(value: object) -> object:
    if not isinstance(value, str | bool | int):
        raise ValueError("takes a string, a whole number, true or false")  # noqa: TRY004 - pydantic reports ValueError alone
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("takes printable characters only")
    if isinstance(value, int) and abs(value) > _LARGEST_NUMBER:
        raise ValueError(f"takes numbers up to {_LARGEST_NUMBER}; write a longer one in quotes")
    return value


class _Definition(BaseModel):
    """A definition as the operator writes it. Refusals quote the fields' descriptions."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z0-9-]{1,30}$"),
        Field(description="1 to 30 lower-case letters, digits and hyphens"),
    ]
    product: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Z0-9-]{1,40}$"),
        Field(description="Vonage's name for the product, in capitals, such as VOICE-CALL"),
    ]
    account_ids: Annotated[
        Annotated[list[_AccountId], Field(min_length=1), AfterValidator(_distinct)] | None,
        Field(description='a list of account ids, such as ["abcd1234"], or "subaccounts"'),
    ] = None
    include_subaccounts: Annotated[bool, Field(description="true or false")] = False
    filters: Annotated[
        dict[
            Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,40}$")],
            Annotated[Any, AfterValidator(_filter_value)],
        ],
        Field(description='an object of names and values, such as {"direction": "outbound"}'),
    ] = {}
    window: Annotated[WindowLength, Field(strict=False, description="hour, day, week or month")] = (
        WindowLength.DAY
    )
    time_zone: Annotated[
        str,
        AfterValidator(_known_zone),
        Field(description="an IANA time zone, such as Europe/London"),
    ] = "UTC"
    delay_days: Annotated[
        list[Annotated[int, Field(ge=0, le=999)]],
        Field(min_length=1, description="a list of whole numbers from 0 to 999, such as [0, 3]"),
        AfterValidator(_increasing),
    ] = list(DEFAULT_DELAY_DAYS)
    max_records: Annotated[
        int,
        Field(ge=1, le=1_000_000_000, description="a whole number from 1 to 1,000,000,000"),
    ] = DEFAULT_MAX_RECORDS
    currency: Annotated[
        Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None,
        Field(description="three capital letters, such as EUR"),
    ] = None


def definitions_schema() -> dict[str, Any]:
    """Return the JSON Schema of the list, which editors use.

    It accepts a few lists that `parse_definitions` refuses, such as one with a name given twice.
    """
    schema = _Definition.model_json_schema()
    definitions = schema.pop("$defs", {})
    product, filters = schema["properties"]["product"], schema["properties"]["filters"]
    # An unknown product passes, because Vonage may have added it. Editors offer the known ones.
    product["anyOf"] = [{"enum": sorted(PRODUCTS)}, {"pattern": product.pop("pattern")}]
    filters["additionalProperties"] = False
    # `_definition` reads this value itself.
    schema["properties"]["account_ids"]["anyOf"].insert(1, {"const": SUBACCOUNTS})
    for name in filters["patternProperties"]:
        filters["patternProperties"][name] = {
            "type": ["string", "boolean", "integer"],
            "minimum": -_LARGEST_NUMBER,
            "maximum": _LARGEST_NUMBER,
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Report definitions",
        "type": "array",
        "maxItems": MOST_DEFINITIONS,
        "items": {**schema, "title": "Report definition", "description": "What to collect."},
        "$defs": definitions,
    }


class _Object(dict[str, Any]):
    """A JSON object. `repeated` is the first name that occurs twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(name for name, _ in pairs)
        self.repeated = next((name for name, count in counts.items() if count > 1), None)


EVERY_DEFINITION = "(all)"
"""The name in a refusal of the whole list."""


@dataclass(frozen=True)
class LoadedDefinitions:
    """The usable definitions, and a refusal for each unusable definition."""

    definitions: Sequence[ReportDefinition]
    refusals: Sequence[Refusal]
    changed_at: datetime
    taken_over: str | None = None
    """The version of the parameter that became the object, if one did."""

    @property
    def is_readable(self) -> bool:
        """Whether the list counts, even if some definitions are unusable."""
        return all(each.definition != EVERY_DEFINITION for each in self.refusals)

    @property
    def follow_subaccounts(self) -> bool:
        """Whether a definition, perhaps a refused one, follows Vonage's list of sub-accounts."""
        return any(each.followed is not None for each in self.definitions) or any(
            each.reason.startswith(UNKNOWN) for each in self.refusals
        )

    @property
    def listing(self) -> Listing | None:
        """The listed names and accounts, or None if they are unknown."""
        return listing_of(self.definitions, self.refusals)

    def named(self, name: str) -> ReportDefinition:
        """Return a definition by name. Raises InvalidRequest if it is refused or unknown."""
        for definition in self.definitions:
            if definition.name == name:
                return definition
        for refusal in self.refusals:
            if refusal.definition in (name, EVERY_DEFINITION):
                raise InvalidRequest(f"{refusal.definition}, {refusal.field}: {refusal.reason}")
        names = ", ".join(each.name for each in self.definitions) or "none"
        raise InvalidRequest(f"no report definition is named {name}; the usable names: {names}")


def load_definitions(
    services: Services, work: OpenWork | None = None, calendar: Calendar | None = None
) -> LoadedDefinitions:
    """Read the definitions, uncached, because they change without a deployment.

    Reads `work` and `calendar` from the ledger if the caller does not give them. Refuses a
    definition that follows the sub-accounts while no list of the API key's sub-accounts is known.

    Raises:
        InvalidRequest: the secret, whose API key is the default account, is unusable.
        ClientError, BotoCoreError: AWS refused a call.
    """
    api_key = services.vonage.api_key
    calendar = calendar or services.ledger.calendar()
    of_the_key = {key: each for key, each in calendar.subaccounts.items() if key == api_key.lower()}
    loaded = accepted_definitions(
        services.definitions.read(),
        work or services.ledger.open_work(),
        replace(calendar, subaccounts=of_the_key),
        api_key=api_key,
    )
    unknown = [each for each in loaded.definitions if each.followed and not each.followed.is_known]
    reason = f"{UNKNOWN} yet; the next pass of submit_reports reads it, within minutes"
    refusals = [Refusal(each.name, "account_ids", reason) for each in unknown]
    left = [each for each in loaded.definitions if each not in unknown]
    return replace(loaded, definitions=left, refusals=[*loaded.refusals, *refusals])


def accepted_definitions(
    written: WrittenDefinitions, work: OpenWork, calendar: Calendar, *, api_key: str
) -> LoadedDefinitions:
    """Parse the definitions, and refuse a list that is probably not the operator's.

    Such a list is empty, or has none of the definitions that the ledger knows and that were not
    announced as removed. The metadata of an object may say that the operator replaces them all by
    others.
    """
    definitions, refusals = parse_definitions(
        written.text,
        api_key=api_key,
        subaccounts=calendar.latest_subaccounts,
        established=calendar.collects,
    )
    listed = {each.name for each in definitions} | {each.definition for each in refusals}
    known = collected_names(work, calendar)
    reason = None
    if not listed and (written.is_object or known):
        reason = (
            f"{written.place} has an empty list. Nothing is planned. Restore your definitions. To "
            "collect nothing, disable the schedule"
        )
    elif known and listed.isdisjoint({*known, EVERY_DEFINITION}) and not written.replaces_all:
        reason = (
            f"{written.place} has none of the definitions collected so far, as {min(known)}. "
            f"Nothing is planned. {HOW_TO_REPLACE}"
        )
    if reason is not None:
        definitions, refusals = [], [Refusal(EVERY_DEFINITION, "(list)", reason)]
    return LoadedDefinitions(definitions, refusals, written.changed_at, written.taken_over)


HOW_TO_REPLACE = (
    "Restore your definitions, or write the list as definitions/report-definitions.json in the "
    "bucket with the metadata replace-all=true"
)


def known_pairs(work: OpenWork, calendar: Calendar) -> dict[Pair, str]:
    """Return the definitions and accounts that the ledger knows, and the accounts' ids."""
    accounts = [
        *((name, account_id) for name, account_id, _ in calendar.cursors),
        *((report.definition, report.account_id) for report in work.reports),
        *(
            (backfill.definition.name, account_id)
            for backfill in work.backfills
            for account_id in backfill.definition.account_ids
        ),
    ]
    return {pair_of(*each): each[1] for each in accounts}


def collected_names(work: OpenWork, calendar: Calendar) -> set[str]:
    """Return the names that the ledger knows and that were not announced as removed."""
    removed = removals_of(work.announced_at).since
    return {pair[0] for pair in known_pairs(work, calendar) if pair not in removed}


def load_currencies(services: Services) -> dict[str, str | None]:
    """Return the current currency of each definition by name. Needs no secret."""
    definitions, _ = parse_definitions(
        services.definitions.read().text,
        api_key="",
        established=services.ledger.calendar().collects,
    )
    return {each.name: each.currency for each in definitions}


def parse_definitions(
    text: str,
    *,
    api_key: str,
    subaccounts: Subaccounts | None = None,
    established: Mapping[str, str] | None = None,
) -> tuple[list[ReportDefinition], list[Refusal]]:
    """Parse the text of the list. Return the usable definitions and the refusals.

    `api_key` is the account of a definition without account_ids. `subaccounts` gives the accounts
    of a definition that follows Vonage's list. Without it, that definition has only `api_key`.
    `established` has the names that have collected before, and their first `collects`. If several
    definitions collect the same, the first one of these stays, else the first one of the list. An
    established definition that is refused, such as for a change, still keeps its requests from new
    definitions. Otherwise Vonage would bill the records again.
    """
    try:
        entries = _entries(text)
    except ValueError as error:
        return [], [Refusal(EVERY_DEFINITION, "(JSON)", str(error))]
    read, refused = _read(entries, api_key, subaccounts)
    own_account = api_key if subaccounts is None else subaccounts.primary
    accepted = _Accepted(own_account=own_account, api_key=api_key)
    first_collects = established or {}
    of_before = [each for each in read if each.definition.name in first_collects]
    for each in of_before:
        accepted.add(each)
        if each.problem:
            accepted.reserve(each.definition)
    for each in of_before:
        accepted.reserve(each.definition, first_collects[each.definition.name])
    for each in read:
        if each.definition.name not in first_collects:
            accepted.add(each)
    refused |= accepted.refused
    return accepted.definitions, [refused[number] for number in sorted(refused)]


def _read(
    entries: Sequence[Any], api_key: str, subaccounts: Subaccounts | None
) -> tuple[list["_Read"], dict[int, Refusal]]:
    """Return the readable definitions, and the refusals of the other entries by position."""
    read, refused = [], {}
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, _Object):
            refused[number] = Refusal(_entry(number), "(JSON)", "must be an object, in { }")
            continue
        problem = _repetition(entry)
        try:
            definition = _definition(entry, api_key, subaccounts)
        except ValidationError as error:
            problem = problem or first_problem(error, _Definition)
            refused[number] = Refusal(_name(entry, number), *problem)
        else:
            problem = problem or _problem_of_accounts(definition, subaccounts)
            read.append(_Read(number, definition, problem or _problem(definition)))
    return read, refused


def _entries(text: str) -> list[Any]:
    """Parse the list. Raises ValueError, with a sentence, if there is no valid list."""
    # Check the size first, because a text that was cut for its size may end inside a character.
    # `replace` writes one byte for each byte that is not UTF-8.
    if len(text.encode(errors="replace")) > MOST_BYTES:
        raise ValueError(f"the report definitions have more than {MOST_BYTES:,} bytes")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("the report definitions are not text in UTF-8") from error
    try:
        entries = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the report definitions are not valid JSON: {error}") from error
    if not isinstance(entries, list):
        # ValueError, because the operator's text is wrong, as in the other cases here.
        raise ValueError("the report definitions must be a list, in [ ]")  # noqa: TRY004
    if len(entries) > MOST_DEFINITIONS:
        raise ValueError(
            f"there are {len(entries):,} report definitions, and at most {MOST_DEFINITIONS:,} are "
            "possible"
        )
    return entries


def _entry(number: int) -> str:
    return f"(entry {number})"


def _name(entry: Mapping[str, Any], number: int) -> str:
    """Return a definition's name if it is safe to print, else its position in the list."""
    name = entry.get("name")
    fit = isinstance(name, str) and name.isascii() and name.isprintable()
    return name if name and fit and len(name) <= _MOST_QUOTED else _entry(number)


def _repetition(entry: _Object) -> tuple[str, str] | None:
    """Return a field that a definition has twice, and a sentence. JSON parsers drop the first."""
    filters = entry.get("filters")
    for prefix, each in (("", entry), ("filters.", filters)):
        if isinstance(each, _Object) and each.repeated is not None:
            return f"{prefix}{each.repeated}", GIVEN_TWICE
    return None


def _definition(
    entry: Mapping[str, Any], api_key: str, subaccounts: Subaccounts | None
) -> ReportDefinition:
    follows = entry.get("account_ids") == SUBACCOUNTS
    value = _Definition.model_validate({**entry, "account_ids": None} if follows else dict(entry))
    filters = value.filters
    if "include_message" in known_filters(value.product):
        # Message bodies are personal data, so collect them only on request.
        filters = {"include_message": False, **filters}
    account_ids, followed = tuple(value.account_ids or [api_key]), None
    if follows:
        known = () if subaccounts is None or subaccounts.accounts is None else subaccounts.accounts
        followed = Followed(is_known=False, known=tuple(known))
        if subaccounts is not None and subaccounts.problem is None:
            days = value.window.most_days + value.delay_days[-1]
            account_ids = subaccounts.account_ids(timedelta(days=days) + _REMEMBERED)
            followed = subaccounts.followed()
    return ReportDefinition(
        name=value.name,
        product=value.product,
        account_ids=account_ids,
        include_subaccounts=value.include_subaccounts,
        filters=filters,
        window=value.window,
        time_zone=value.time_zone,
        delay_days=tuple(value.delay_days),
        max_records=value.max_records,
        currency=value.currency,
        followed=followed,
    )


def first_problem(error: ValidationError, model: type[BaseModel]) -> tuple[str, str]:
    """Return the first invalid field, as a dotted path, and a description of valid values.

    The path is empty if the value itself is not an object. Never quotes a filter, because a filter
    may be a phone number.
    """
    first: Any = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"] if part != "[key]"]
    field = ".".join(path)
    names = ", ".join(model.model_fields)
    if first["type"] == "model_type":
        return field, f"takes an object with {names}"
    if not path:
        return "(JSON)", "a field name is not valid Unicode"
    if first["type"] == "extra_forbidden":
        return field, f"no such field; the fields are {names}"
    if first["type"] == "value_error":
        return field, str(first["ctx"]["error"])
    takes = f"takes {model.model_fields[path[0]].description}"
    if first["type"] == "missing":
        return field, f"missing; it {takes}"
    return field, takes if path[0] == "filters" else f"{takes}, not {_quoted(first['input'])}"


def _quoted(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."


class _Read(NamedTuple):
    """A definition of the list, its position, and the field and reason that refuse it by itself."""

    number: int
    definition: ReportDefinition
    problem: tuple[str, str] | None


class _Accepted:
    """The definitions that were accepted so far, found by name and by their requests.

    `refused` has the refusals by position. `own_account` is the account of a definition without
    account_ids, as the list spells it.
    """

    def __init__(self, *, own_account: str, api_key: str) -> None:
        self._spelled = {api_key.lower(): own_account.lower()}
        self._definitions: dict[str, tuple[int, ReportDefinition]] = {}
        self._requested_by: dict[tuple[Any, ...], ReportDefinition] = {}
        self.refused: dict[int, Refusal] = {}

    def add(self, read: _Read) -> None:
        """Accept or refuse a definition."""
        definition = read.definition
        problem = read.problem or self._conflict(definition)
        if problem:
            self.refused[read.number] = Refusal(definition.name, *problem)
        else:
            self._definitions[definition.name] = read.number, definition
            self.reserve(definition)

    def reserve(self, definition: ReportDefinition, collects: str | None = None) -> None:
        """Keep the requests of a definition from others. `collects` may be an earlier value."""
        for request in self._requests(definition, collects):
            self._requested_by.setdefault(request, definition)

    @property
    def definitions(self) -> list[ReportDefinition]:
        """The accepted definitions, in the order of the list."""
        accepted = sorted(self._definitions.values(), key=lambda each: each[0])
        return [definition for _, definition in accepted]

    def _conflict(self, definition: ReportDefinition) -> tuple[str, str] | None:
        """Return the field and the reason for which another definition excludes one, or None."""
        if definition.name in self._definitions:
            number, other = self._definitions[definition.name]
            return "name", f"{_entry(number)}, of {other.product}, already has this name"
        for request in self._requests(definition):
            other = self._requested_by.get(request, definition)
            if other.name != definition.name:
                break
        else:
            return None
        if (other.followed is None) is (definition.followed is None):
            return "name", f"{other.name} collects the same; Vonage would bill each record twice"
        is_namer = definition.followed is None
        follower, namer = (other, definition) if is_namer else (definition, other)
        spelled, others = self._accounts(follower), self._accounts(namer)
        shared = sorted(spelled[each] for each in spelled.keys() & others.keys())
        return "account_ids", (
            f"{other.name} collects the same of {_named(shared)}, and Vonage would bill each "
            f"record twice. Remove {follower.name} or {namer.name}, or list only other accounts in "
            f"account_ids of {namer.name}"
        )

    def _requests(
        self, definition: ReportDefinition, collects: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Yield a definition's request for each of its accounts."""
        fields = json.dumps(in_quotes(json.loads(collects or definition.collects)), sort_keys=True)
        for account_id in self._accounts(definition):
            yield (account_id, fields, definition.include_subaccounts, definition.delay_days)

    def _accounts(self, definition: ReportDefinition) -> dict[str, str]:
        """Return the accounts of a definition in lower case, and as the definition spells them.

        A definition that follows the list also has the sub-accounts that are gone. They may
        return, and a backfill may name them.
        """
        known = () if definition.followed is None else definition.followed.known
        return {
            self._spelled.get(account_id.lower(), account_id.lower()): account_id
            for account_id in (*definition.account_ids, *known)
        }


def _named(accounts: Sequence[str]) -> str:
    more = len(accounts) - _MOST_NAMED
    return ", ".join(accounts[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _problem_of_accounts(
    definition: ReportDefinition, subaccounts: Subaccounts | None
) -> tuple[str, str] | None:
    """Return the field and the reason for refusing to follow the sub-accounts, or None."""
    if definition.followed is None:
        return None
    if definition.include_subaccounts:
        reason = (
            f'with account_ids "{SUBACCOUNTS}", each sub-account has a report of its own, and '
            "Vonage would bill its records twice; set it to false"
        )
        return "include_subaccounts", reason
    problem = None if subaccounts is None else subaccounts.problem
    return ("account_ids", problem) if problem else None


def _problem(definition: ReportDefinition) -> tuple[str, str] | None:
    """Return the field and the reason for refusing a definition by itself, or None."""
    refused_filter = filter_problem(definition.product, definition.filters)
    if refused_filter:
        name, reason = refused_filter
        return f"filters.{name}", reason
    days = definition.window.most_days + definition.delay_days[-1]
    too_old = retention_problem(definition.product, days)
    if too_old:
        return f"delay_days.{len(definition.delay_days) - 1}", too_old
    return None
