"""`page` on the last run: it says of a month's windows what `bill` says of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.delivered import Delivered
from tests.support.last_run import save_run
from tests.support.reports import make_report
from tests.support.schemas import document_of
from vonage_reports.domain.definitions import ReportDefinition
from vonage_reports.domain.report import State
from vonage_reports.domain.windows import Window, WindowLength, parse_instant
from vonage_reports_cli.main import main

DAYS = [f"2026-11-{day:02}" for day in range(1, 31)]
MONTH = ("--month", "2026-11")


def daily(**changes: Any) -> ReportDefinition:
    fields: dict[str, Any] = {
        "name": "calls", "product": "VOICE-CALL", "account_ids": ("abcd1234",),
        "include_subaccounts": False, "window": WindowLength.DAY, "time_zone": "UTC",
        "filters": {},
    }  # fmt: skip
    return ReportDefinition(**{**fields, **changes})


def call(day: str) -> dict[str, str]:
    return {
        "id": day, "date_start": f"{day}T10:00:00Z", "total_price": "0.5", "currency": "EUR",
        "account_id": "abcd1234", "country": "GB",
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Delivered:
    monkeypatch.chdir(save_run(tmp_path, definitions=[daily()]))
    monkeypatch.delenv("VONAGE_REPORTS_STACK", raising=False)
    return Delivered(tmp_path / "out")


def deliver(out: Delivered, days: list[str], revision: str = "final") -> None:
    for day in days:
        out.deliver("VOICE-CALL", [call(day)], definition="calls", day=day, revision=revision)


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["--local", "page", *arguments]) == 0
    return capsys.readouterr().out.splitlines()[1]


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["--local", "page", *arguments, "--json"]) == 0
    return document_of("page", capsys.readouterr().out)


def test_days_before_the_first_and_after_the_last_delivery_are_missing(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(run, DAYS[3:27])

    assert said(capsys, *MONTH) == (
        "usage.html: 24 records of 2026-11; windows: 24 of 30 final, 0 preliminary; 6 missing"
    )
    assert main(["--local", "bill", *MONTH]) == 1
    assert "24 of 30 windows are delivered and final." in capsys.readouterr().out
    text = Path("usage.html").read_text()
    assert "Windows: 24 of 30 final, 0 preliminary; 6 missing." in text
    assert "<strong>missing:</strong> calls, abcd1234, 2026-11-01 to 2026-11-03 (3 windows)" in text
    assert "none known to be missing" in said(capsys)


def test_complete_month_says_so(run: Delivered, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(run, DAYS)

    assert said(capsys, *MONTH) == "usage.html: 30 records of 2026-11; windows: all 30 final"


def test_nothing_is_said_to_be_complete_without_a_delivery(
    run: Delivered, capsys: pytest.CaptureFixture[str]
) -> None:
    deliver(run, ["2026-08-01"])

    assert said(capsys, *MONTH).endswith("windows: 0 of 30 final, 0 preliminary; 30 missing")


def test_each_flaw_of_a_window_is_a_state(
    run: Delivered, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    deliver(run, DAYS[4:])
    deliver(run, DAYS[3:4], "preliminary")
    [held, withdrawn] = (
        Window(parse_instant(f"{one}T00:00:00Z"), parse_instant(f"{two}T00:00:00Z"), "UTC")
        for one, two in (DAYS[:2], DAYS[1:3])
    )
    reports = [
        make_report(definition="calls", product="VOICE-CALL", window=held, state=State.HELD,
                    reason="no answer"),
        make_report(definition="calls", product="VOICE-CALL", window=withdrawn,
                    state=State.CANCELLED, withdrawn_at=withdrawn.end),
    ]  # fmt: skip
    save_run(tmp_path, definitions=[daily()], reports=reports)
    for file in (tmp_path / "out").rglob("data/**/date=2026-11-10/*.parquet"):
        file.unlink()
    for file in (tmp_path / "out" / "manifests").rglob("2026/11/20/*.json"):
        file.unlink()

    found = document(capsys, *MONTH)

    [windows] = found["windows"]
    states = {name: windows[name] for name in windows if windows[name] and name != "delivered"}
    assert states == {
        "definition": "calls", "account_id": "abcd1234", "preliminary": 1, "held": 1,
        "missing": 1, "withdrawn": 1, "lost": 1, "without_manifest": 1,
    }  # fmt: skip
    assert said(capsys, *MONTH).endswith(
        "windows: 24 of 30 final, 1 preliminary; 1 held; 1 missing; 1 withdrawn; 1 lost; 1 without "
        "manifest"
    )
    assert "no answer" in Path("usage.html").read_text()
    # The page of all time finds them too.
    [windows] = document(capsys)["windows"]
    assert (windows["lost"], windows["without_manifest"]) == (1, 1)


@pytest.mark.parametrize("arguments", [(), MONTH], ids=["all time", "month"])
def test_losses_and_refusals_are_named(
    run: Delivered,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    deliver(run, DAYS)
    save_run(tmp_path, definitions=[daily(time_zone="Asia/Tokyo")], planned=[daily()])
    [file] = (tmp_path / "out" / "manifests").rglob("2026/11/18/*.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "row_check": "different"}))

    cautions = document(capsys, *arguments)["cautions"]

    assert [each.partition(" (")[0] for each in cautions] == [
        "calls, time_zone: changed under the same name; restore 'UTC', or use a new name",
        "VOICE-CALL: 1 window was delivered with losses",
    ]
    assert "VOICE-CALL: 1 window was delivered with losses" in Path("usage.html").read_text()
