"""Which windows a period has, for every kind of definition."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.reports import make_report
from vonage_reports.aws.ledger_items import Calendar
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import State
from vonage_reports.domain.subaccounts import Followed, Span
from vonage_reports.domain.windows import Window, WindowLength, windows_within
from vonage_reports_cli.completeness import (
    Announced,
    Collected,
    Completeness,
    Flaw,
    completeness_of,
)
from vonage_reports_cli.period import Period, month_of
from vonage_reports_cli.status.model import THE_API_KEY

NOVEMBER = month_of("2026-11")
LATER = datetime(2026, 12, 20, tzinfo=UTC)


def definition(**changes: Any) -> ReportDefinition:
    fields: dict[str, Any] = {
        "name": "calls", "product": "VOICE-CALL", "account_ids": ("abcd1234",),
        "include_subaccounts": False, "filters": {}, "window": WindowLength.DAY, "time_zone": "UTC",
    }  # fmt: skip
    return ReportDefinition(**{**fields, **changes})


def calendar(**fields: Any) -> Calendar:
    empty: dict[str, Any] = {"cursors": {}, "volumes": {}, "collects": {}, "profiles": {},
                             "unreadable": (), "delays": {}}  # fmt: skip
    return Calendar(**{**empty, **fields})


def manifest(of: ReportDefinition, window: Window, **changes: Any) -> dict[str, Any]:
    return {
        "definition": of.name, "account_id": "abcd1234", "product": of.product,
        "window": window.to_dict(), "revision": "final", "dataset": None, **changes,
    }  # fmt: skip


def complete(
    of: ReportDefinition,
    windows: Sequence[Window],
    *,
    period: Period = NOVEMBER,
    known: Calendar | None = None,
    as_of: datetime = LATER,
    **changes: Any,
) -> Completeness:
    collected = Collected(as_of, [of], [], known or calendar(), [])
    manifests = [manifest(of, window, **changes) for window in windows]
    return completeness_of(period, collected, manifests, datasets=[])


def windows_of(of: ReportDefinition, first: str, last: str) -> list[Window]:
    start, end = (datetime.fromisoformat(day).date() for day in (first, last))
    return windows_within(start, end, of.window, of.time_zone)


@pytest.mark.parametrize(
    ("length", "first", "last", "windows"),
    [
        (WindowLength.HOUR, "2026-11-01", "2026-12-01", 720),
        (WindowLength.DAY, "2026-11-01", "2026-12-01", 30),
        (WindowLength.WEEK, "2026-10-26", "2026-12-07", 6),
        (WindowLength.MONTH, "2026-11-01", "2026-12-01", 1),
    ],
)
def test_windows_of_each_length_cover_the_month(
    length: WindowLength, first: str, last: str, windows: int
) -> None:
    of = definition(window=length)

    found = complete(of, windows_of(of, first, last))

    assert found.is_complete
    assert (found.windows, found.final) == (windows, windows)
    assert found.lines() == [
        f"2026-11-01 to 2026-11-30 (UTC) is complete: all {windows} windows are final."
    ]


def test_windows_of_another_zone_touch_the_month_at_both_ends() -> None:
    of = definition(time_zone="America/New_York")
    days = windows_of(of, "2026-10-31", "2026-12-01")

    assert complete(of, days).is_complete
    [incomplete] = complete(of, days[1:]).incomplete
    assert (incomplete.flaw, incomplete.ranges) == (Flaw.MISSING, ["2026-10-31"])


def test_missing_hours_are_one_range() -> None:
    of = definition(window=WindowLength.HOUR, time_zone="Europe/Berlin")
    hours = windows_of(of, "2026-11-01", "2026-12-02")

    [incomplete] = complete(of, [*hours[:30], *hours[33:]]).incomplete

    assert incomplete.ranges == ["2026-11-02 06:00 to 2026-11-02 09:00"]
    assert incomplete.event == {
        "backfill": {"definition": "calls", "start": "2026-11-02", "end": "2026-11-03"}
    }


def test_many_ranges_are_cut_short() -> None:
    of = definition()

    found = complete(of, windows_of(of, "2026-11-01", "2026-12-01")[1::2])

    assert found.lines()[1] == (
        "  missing      calls, abcd1234: 2026-11-01, 2026-11-03, 2026-11-05, 2026-11-07, "
        "and 11 more"
    )


def test_command_collects_all_that_is_missing() -> None:
    of = definition()

    found = complete(of, windows_of(of, "2026-11-01", "2026-12-01")[3:10])

    assert found.commands("prod") == [
        "vonage-reports --stack prod backfill calls --from 2026-11-01 --until 2026-12-01"
    ]


def test_sub_account_has_the_windows_from_its_creation_to_its_end() -> None:
    noon = datetime(2026, 11, 10, 12, tzinfo=UTC)
    spans = {"new00001": Span(((noon, None),)), "gone0001": Span(((None, noon),))}
    of = definition(account_ids=("abcd1234", "new00001", "gone0001"), followed=Followed(spans))
    days = windows_of(of, "2026-11-01", "2026-12-01")

    found = complete(of, days)

    assert found.windows == 30 + 21 + 10
    assert [(each.account_id, each.ranges) for each in found.incomplete] == [
        ("new00001", ["2026-11-10 to 2026-11-30"]),
        ("gone0001", ["2026-11-01 to 2026-11-10"]),
    ]
    prefix = "vonage-reports --stack s backfill calls"
    assert found.commands("s") == [
        f"{prefix} --from 2026-11-10 --until 2026-12-01",
        f"{prefix} --from 2026-11-01 --until 2026-11-11 --account gone0001",
    ]
    assert found.cautions == []


def test_account_that_is_spelled_anew_keeps_its_windows() -> None:
    of = definition(account_ids=("ABCD1234",))
    days = windows_of(of, "2026-11-01", "2026-12-01")

    assert complete(of, days).is_complete
    [incomplete] = complete(of, days[1:]).incomplete
    assert (incomplete.account_id, incomplete.ranges) == ("ABCD1234", ["2026-11-01"])


def test_definition_without_accounts_has_the_one_of_its_cursor() -> None:
    of = definition(account_ids=(THE_API_KEY,))
    days = windows_of(of, "2026-11-01", "2026-12-01")
    cursors = {
        ("calls", "old00000", 3): datetime(2026, 10, 1, tzinfo=UTC),
        ("calls", "abcd1234", 3): datetime(2026, 11, 30, tzinfo=UTC),
    }

    found = complete(of, days[:20], known=calendar(cursors=cursors))

    assert [each.account_id for each in found.incomplete] == ["abcd1234"]
    assert found.cautions == []
    assert complete(of, days, known=calendar(cursors=cursors)).is_complete


def test_new_definition_without_accounts_is_named() -> None:
    found = complete(definition(account_ids=(THE_API_KEY,)), [])

    [incomplete] = found.incomplete
    assert (incomplete.account_id, len(incomplete.windows)) == (THE_API_KEY, 30)


def test_period_without_definitions_is_not_complete() -> None:
    collected = Collected(LATER, [], [], calendar(), [])

    found = completeness_of(NOVEMBER, collected, [], datasets=[])

    assert not found.is_complete
    assert found.lines() == ["2026-11-01 to 2026-11-30 (UTC): no definition has a window here."]


def test_windows_of_earlier_rules_of_a_zone_count() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    hour = timedelta(hours=1)
    moved = [
        Window(days[4].start, days[4].end + hour, "UTC"),
        Window(days[5].start + hour, days[5].end, "UTC"),
    ]

    assert complete(of, [*days[:4], *moved, *days[6:]]).is_complete


def test_dataset_of_a_final_manifest_must_be_there() -> None:
    of = definition()
    [day, *_] = windows_of(of, "2026-11-01", "2026-12-01")
    period = Period(NOVEMBER.since, NOVEMBER.since + timedelta(days=1))

    found = complete(of, [day], period=period, dataset={"key": "data/x.parquet"})

    assert [each.flaw for each in found.incomplete] == [Flaw.LOST]


KEY = "data/product=VOICE-CALL/definition={}/account={}/date={}/{}_{}.parquet"


def dataset_of(window: Window, *, name: str = "calls", account: str = "abcd1234") -> str:
    start, end = (f"{at:%Y%m%dT%H%M%SZ}" for at in (window.start, window.end))
    return KEY.format(name, account, window.first_date, start, end)


def found_in(
    of: ReportDefinition, manifests: Sequence[dict[str, Any]], datasets: Sequence[str]
) -> Completeness:
    collected = Collected(LATER, [of], [], calendar(), [])
    return completeness_of(NOVEMBER, collected, manifests, datasets=datasets)


def flaws_of(found: Completeness) -> list[tuple[str, str, str, list[str]]]:
    return [(e.definition, e.account_id, e.flaw, e.ranges) for e in found.incomplete]


def test_dataset_that_no_manifest_names_is_a_flaw() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    manifests = [
        manifest(of, day, dataset={"key": dataset_of(day)}) for day in (*days[:4], *days[5:])
    ]

    found = found_in(of, manifests, [dataset_of(day) for day in days])

    assert flaws_of(found) == [("calls", "abcd1234", "without manifest", ["2026-11-05"])]
    assert (found.windows, found.final) == (30, 29)


def test_dataset_of_no_known_window_is_a_flaw() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    manifests = [manifest(of, day, dataset={"key": dataset_of(day)}) for day in days]
    half = Window(days[3].start, days[3].start + timedelta(hours=12), "UTC")
    [december] = windows_of(of, "2026-12-01", "2026-12-02")
    strays = [
        dataset_of(half),
        dataset_of(days[6], account="efgh5678"),
        dataset_of(days[7], name="gone"),
        dataset_of(december, name="of-december"),
        "data/product=SMS/definition=x/account=y/date=2026-11-09/copy.parquet",
        "data/product=SMS/copy.parquet",
    ]

    found = found_in(of, manifests, [*map(dataset_of, days), *strays])

    assert flaws_of(found) == [
        ("calls", "abcd1234", "without manifest", ["2026-11-04"]),
        ("calls", "efgh5678", "without manifest", ["2026-11-07"]),
        ("data/product=SMS/copy.parquet", "", "without manifest", ["2026-11-01 to 2026-11-30"]),
        ("gone", "abcd1234", "without manifest", ["2026-11-08"]),
        ("x", "y", "without manifest", ["2026-11-09"]),
    ]
    assert (found.windows, found.final) == (35, 30)


def test_dataset_of_an_open_report_is_under_way() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    manifests = [manifest(of, day, dataset={"key": dataset_of(day)}) for day in days[1:]]
    open_report = make_report(
        definition="calls", window=days[0], state=State.CONVERTING, product=of.product
    )
    collected = Collected(LATER, [of], [], calendar(), [open_report])

    found = completeness_of(NOVEMBER, collected, manifests, datasets=map(dataset_of, days))

    assert [each.flaw for each in found.incomplete] == [Flaw.UNDER_WAY]


def test_expired_dataset_is_not_lost() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    manifests = [manifest(of, day, dataset={"key": dataset_of(day)}) for day in days]
    collected = Collected(
        LATER, [of], [], calendar(), [], datasets_expire_before=days[3].start + timedelta(hours=1)
    )

    found = completeness_of(NOVEMBER, collected, manifests, datasets=map(dataset_of, days[5:]))

    assert flaws_of(found) == [
        ("calls", "abcd1234", "lost", ["2026-11-04 to 2026-11-05"]),
        ("calls", "abcd1234", "expired", ["2026-11-01 to 2026-11-03"]),
    ]


def test_withdrawn_window_is_collected_by_recollect_only() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    reports = [
        make_report(definition="calls", window=day, state=State.CANCELLED, withdrawn_at=LATER)
        for day in days[2:4]
    ]
    collected = Collected(LATER, [of], [], calendar(), reports)
    manifests = [manifest(of, day) for day in (*days[:2], *days[4:])]

    found = completeness_of(NOVEMBER, collected, manifests, datasets=[])

    assert flaws_of(found) == [("calls", "abcd1234", "withdrawn", ["2026-11-03 to 2026-11-04"])]
    first, second = (each.report_id for each in reports)
    assert found.commands("prod") == [f"vonage-reports --stack prod recollect {first} {second}"]


def test_backfill_is_offered_for_no_window_that_it_would_refuse() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    changed = calendar(collects={"calls": definition(filters={"country": "GB"}).collects})
    much_later = datetime(2028, 6, 1, tzinfo=UTC)

    assert complete(of, days[3:], known=changed).commands("prod") == []
    assert complete(of, days[3:], as_of=much_later).commands("prod") == []


def test_changed_definition_is_refused_as_in_status() -> None:
    of = definition()
    changed = calendar(collects={"calls": definition(time_zone="Europe/Paris").collects})

    found = complete(of, windows_of(of, "2026-10-31", "2026-12-02"), known=changed)

    assert found.lines()[-1] == (
        "  refused      calls, time_zone: changed under the same name; restore 'Europe/Paris', or "
        "use a new name"
    )


def test_removed_account_and_definition_are_named_with_their_last_window() -> None:
    of = definition(account_ids=("abcd1234",))
    days = windows_of(of, "2026-11-01", "2026-12-01")
    gone = [manifest(of, day, account_id="efgh5678") for day in days[:20]]
    old = [manifest(definition(name="old"), day) for day in days[:3]]
    ended = [manifest(definition(name="whole"), day) for day in days]
    collected = Collected(LATER, [of], [], calendar(), [])
    manifests = [*(manifest(of, day) for day in days), *gone, *old, *ended]

    found = completeness_of(NOVEMBER, collected, manifests, datasets=[])

    assert found.is_complete
    assert found.cautions == [
        (
            "calls, efgh5678: not in the report definitions any more; the last window is of "
            "2026-11-20, and later usage is not collected."
        ),
        (
            "old, abcd1234: not in the report definitions any more; the last window is of "
            "2026-11-03, and later usage is not collected."
        ),
    ]


def test_accepted_losses_are_named_by_product() -> None:
    of = definition()
    days = windows_of(of, "2026-11-01", "2026-12-01")
    accepted: list[dict[str, Any]] = [
        {"accepted": [{"name": "unreadable_rows", "rows": 2}], "row_check": "different"},
        {"accepted": [{"name": "row_count", "rows": 3}, {"name": "unreadable_rows", "rows": 1}]},
        {"accepted": [{"name": "row_count", "rows": None}]},
        {"row_check": "different"},
        {"revision": "preliminary", "accepted": [{"name": "row_count", "rows": 9}]},
    ]
    manifests = [
        *(manifest(of, day, **changes) for day, changes in zip(days, accepted, strict=False)),
        *(manifest(of, day) for day in days[4:]),
    ]

    found = completeness_of(
        NOVEMBER, Collected(LATER, [of], [], calendar(), []), manifests, datasets=[]
    )

    assert found.is_complete
    assert found.cautions == [
        (
            "VOICE-CALL: 4 windows were delivered with losses (calls, abcd1234, 2026-11-01; calls, "
            "abcd1234, 2026-11-02; calls, abcd1234, 2026-11-03 and 1 more): 3 rows left out as "
            "unreadable; 3 rows more or fewer than Vonage counted; an unknown number of rows more "
            "or fewer than Vonage counted."
        ),
    ]


def test_unreadable_item_of_the_ledger_leaves_the_period_incomplete() -> None:
    daily = definition()
    windows = windows_of(daily, "2026-11-01", "2026-12-01")
    manifests = [manifest(daily, window) for window in windows]
    for unreadable, is_complete in (((), True), (("finished#calls/calls-x",), False)):
        collected = Collected(LATER, [daily], [], calendar(), [], unreadable=unreadable)
        found = completeness_of(NOVEMBER, collected, manifests, datasets=[])
        assert found.is_complete is is_complete
        assert any("calls-x" in line for line in found.lines()) is not is_complete


def test_marked_month_tells_that_an_announcement_or_a_check_follows() -> None:
    assert Announced("2026-11", 2, is_changed=True).sentence == (
        "2026-11 is written as complete: number 2. "
        "Its announcement, or the check of a later change, is still to come."
    )
