import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from vonage_reports.aws.definitions_source import WrittenDefinitions
from vonage_reports.aws.ledger_items import Calendar, OpenWork
from vonage_reports.domain.removal import cause_of, pair_of
from vonage_reports.domain.subaccounts import SubaccountList, Subaccounts, after_answer
from vonage_reports.submit_reports.read_definitions import parse_definitions
from vonage_reports_cli.definitions import changes, checked, known_api_key, line_diff
from vonage_reports_cli.status.model import THE_API_KEY

NOW = datetime(2026, 11, 26, tzinfo=UTC)
VERIFY = {"name": "verify", "product": "VERIFY-V2"}
VOICE = {"name": "voice", "product": "VOICE-CALL"}
SMS = {"name": "sms", "product": "SMS", "filters": {"direction": "inbound"}}


def text(*entries: object) -> str:
    return json.dumps(entries)


def written(*entries: object) -> WrittenDefinitions:
    return WrittenDefinitions(text(*entries), NOW, "d.json", is_object=True)


def collected(*entries: dict[str, Any], api_key: str = "abcd1234") -> Calendar:
    definitions, _ = parse_definitions(text(*entries), api_key=api_key)
    return Calendar(
        {(each.name, account, 3): NOW for each in definitions for account in each.account_ids},
        {},
        {each.name: each.collects for each in definitions},
    )


def shown(before: str, after: str) -> list[str]:
    return [f"{each.kind} {each.name}: {each.details}" for each in changes(before, after)]


def test_differences_are_told_by_name() -> None:
    before = text(VERIFY, VOICE, SMS)
    after = text({**VERIFY, "delay_days": [0, 3], "currency": "EUR"}, SMS, {**VOICE, "name": "new"})

    assert shown(before, after) == [
        "added new: VOICE-CALL, each day",
        'changed verify: delay_days [3] -> [0, 3], currency none -> "EUR"',
        "removed voice: VOICE-CALL, each day",
    ]


def test_order_and_defaults_are_no_difference() -> None:
    explicit = {**VERIFY, "window": "day", "delay_days": [3], "time_zone": "UTC"}

    assert shown(text(VERIFY, VOICE), text(VOICE, explicit)) == []


def test_sub_accounts_are_told_as_written() -> None:
    follows = {**VERIFY, "account_ids": "subaccounts"}
    listed = {**VERIFY, "account_ids": ["wxyz9876"]}

    told = 'changed verify: account_ids ["wxyz9876"] -> "subaccounts"'
    assert shown(text(listed), text(follows)) == [told]
    assert shown(text(follows), text(follows)) == []


def test_definition_of_the_known_sub_accounts_is_checked() -> None:
    known = after_answer(None, SubaccountList("abcd1234", {"sub1": None}), NOW)
    calendar = Calendar({}, {}, {}, subaccounts={"abcd1234": known})
    follows = written({**VERIFY, "account_ids": "subaccounts"})

    assert known_api_key(follows, calendar) == "abcd1234"
    found = checked(follows, calendar=calendar)
    assert (found.definitions[0].account_ids, found.warnings) == (("abcd1234", "sub1"), [])
    (warning,) = checked(follows).warnings
    assert warning.startswith("verify, account_ids: only the primary account is counted here")


FOLLOWS = {**VERIFY, "name": "all", "account_ids": "subaccounts"}


@pytest.mark.parametrize("order", [(VERIFY, FOLLOWS), (FOLLOWS, VERIFY)], ids=["before", "after"])
@pytest.mark.parametrize("established", [VERIFY, FOLLOWS], ids=["namer", "follower"])
def test_definition_that_has_collected_stays(
    established: dict[str, Any], order: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    calendar = collected(established)
    (new,) = [each for each in order if each is not established]
    found = checked(written(*order), calendar=calendar)
    assert [each.name for each in found.definitions] == [established["name"]]
    (refusal,) = found.refusals
    assert (refusal.definition, refusal.field) == (new["name"], "account_ids")

    (told,) = changes(text(established), text(*order), established=calendar.collects)
    assert (told.kind, told.name) == ("added", new["name"])
    assert told.details.startswith(f"refused, account_ids: {established['name']} collects")


def test_definition_that_has_collected_gives_the_api_key() -> None:
    calendar = replace(collected(VERIFY), subaccounts={"other": Subaccounts("other", NOW)})
    assert known_api_key(written(FOLLOWS, VERIFY), calendar) == "abcd1234"


def test_filter_s_value_is_not_quoted() -> None:
    before = {**VOICE, "filters": {"to": "447700900000"}}
    after = {**VOICE, "filters": {"to": "447700900001"}}

    assert shown(text(before), text(after)) == ["changed voice: filters"]


def test_refused_definition_says_so() -> None:
    refused = {"name": "sms", "product": "SMS"}
    reason = 'refused, filters.direction: SMS needs a direction; write "inbound" or "outbound"'

    assert shown(text(VERIFY), text(VERIFY, refused)) == [f"added sms: {reason}"]
    assert shown(text(refused), text(SMS)) == [
        f"changed sms: SMS, inbound, each day (before: {reason})"
    ]
    assert shown(text(refused), text(refused)) == []


def test_lines_have_one_field_each() -> None:
    before, after = text(VERIFY, SMS), text(VERIFY, {**SMS, "delay_days": [0, 3]})

    assert line_diff(before, after)[2:] == [
        "@@ -4,4 +4,5 @@",
        ' { "name": "sms"',
        '   "product": "SMS"',
        '   "filters": {"direction": "inbound"}',
        '+  "delay_days": [0, 3]',
        " }",
    ]
    assert line_diff(before, json.dumps(json.loads(before), indent=4)) == []
    assert line_diff("[{", "[{") == []


def test_list_without_a_collected_name_replaces_all() -> None:
    calendar = collected(VERIFY)

    assert not checked(written(VERIFY, VOICE), calendar=calendar).needs_replace_all
    assert not checked(written(VOICE)).needs_replace_all
    replacing = checked(written(VOICE), calendar=calendar)
    assert replacing.needs_replace_all
    assert (replacing.refusals, len(replacing.definitions)) == ([], 1)


@pytest.mark.parametrize("calendar", [collected(), collected(VERIFY)])
def test_empty_list_is_refused(calendar: Calendar) -> None:
    found = checked(written(), calendar=calendar)

    assert not found.needs_replace_all
    assert [each.field for each in found.refusals] == ["(list)"]


def test_removed_names_are_not_expected_in_the_list() -> None:
    cause = cause_of(pair_of("verify", "abcd1234"))
    work = OpenWork((), {}, frozenset({cause}), announced_at={cause: NOW})

    assert not checked(written(VOICE), work, collected(VERIFY)).needs_replace_all


def test_changed_product_is_refused_and_not_estimated() -> None:
    found = checked(written({**VERIFY, "product": "VERIFY-API"}, VOICE), calendar=collected(VERIFY))

    assert [(each.definition, each.field) for each in found.refusals] == [("verify", "product")]
    assert [each.name for each in found.definitions] == ["voice"]


def test_api_key_is_the_account_that_was_collected() -> None:
    named = {**VOICE, "account_ids": ["wxyz9876"]}

    assert known_api_key(written(VERIFY, named), collected(VERIFY, named)) == "abcd1234"
    assert known_api_key(written(VERIFY, named), collected(named)) == THE_API_KEY
    assert known_api_key(written(VERIFY), Calendar({}, {}, {})) == THE_API_KEY
