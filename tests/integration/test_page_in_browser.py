"""The page in headless Chromium, as a reader sees it on a phone, a tablet and a desk."""

import json
import platform
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import npm
from tests.support.delivered import Delivered
from tests.support.paths import ROOT
from vonage_reports_cli.page import make_page
from vonage_reports_cli.page.document import Origin
from vonage_reports_cli.sql.dataset import Folder

pytestmark = pytest.mark.skipif(
    not npm.IS_THERE or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="npm is not on PATH, or its package has no Chromium for this machine",
)

BUSY, SPARSE = "busy", "sparse"
PRODUCTS = {
    "SMS": ("date_received", ["delivered", "failed", "rejected", "expired", "unknown", "buffered"]),
    "VOICE-CALL": ("date_start", ["answered", "busy", "timeout"]),
    "MESSAGES": ("date_received", ["read", "delivered", "undeliverable-for-a-long-reason"]),
    "WEBSOCKET-CALL": ("date_start", ["completed"]),
    "SMS-TRAFFIC-CONTROL": ("queued_time", ["released"]),
}
COUNTRIES = ("GB", "US", "GS", "DE", "FR", "ES", "IT", "PL", "NL", "SE", "NO", "DK", "FI", "AT",
             "CH", "BE", "IE", "BO")  # fmt: skip
LEAST_CONTRAST = 4.5
"""WCAG 2.2, level AA, for text of any size."""
LEAST_PIXELS = 12


def deliver_busy_month(out: Delivered) -> None:
    for product, (time, statuses) in PRODUCTS.items():
        for day in (each for each in range(1, 31) if each not in (12, 13)):
            records = [
                {
                    "id": f"{day}-{place}", time: f"2026-11-{day:02}T10:00:00Z",
                    "country": COUNTRIES[(day + place) % len(COUNTRIES)],
                    "status": statuses[place % len(statuses)],
                    "total_price": f"{place * day * 37 + 1}.{place * 7919 + day:08}",
                    "latency": str(place**3 * 300), "currency": "EUR",
                }
                for place in range(8)
            ]  # fmt: skip
            out.deliver(
                product, records, definition=f"{product.lower()}-of-all-accounts",
                day=f"2026-11-{day:02}", currency="EUR",
                revision="preliminary" if day > 27 else "final",
            )  # fmt: skip


def page_of(folder: Path, *, is_simulated: bool) -> str:
    origin = Origin(
        "stack usage-reports-prod, account 123456789012, eu-west-1, as of 2026-11-26 11:00:00 UTC",
        is_simulated,
        datetime(2026, 11, 26, 11, 5, tzinfo=UTC),
    )
    return make_page(Folder(folder), origin).html


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[dict[str, Any]]]:
    """Return the views of each page: three widths, light and dark."""
    folder = tmp_path_factory.mktemp("pages")
    deliver_busy_month(Delivered(folder / BUSY))
    record = {"id": "r", "date_received": "2026-11-19T10:00:00Z", "total_price": "0.1"}
    Delivered(folder / SPARSE).deliver("SMS", [record], definition="sms")
    files = []
    for name in (BUSY, SPARSE):
        files.append(folder / f"{name}.html")
        files[-1].write_text(page_of(folder / name, is_simulated=name == BUSY), encoding="utf-8")
    done = subprocess.run(
        ["node", ROOT / "tests" / "support" / "browser.mjs", npm.installed() / ".chromium", *files],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    views = json.loads(done.stdout)
    assert len(views) == 12
    return {
        name: [view for view in views if Path(view["file"]).stem == name] for name in (BUSY, SPARSE)
    }


def states(views: Mapping[str, list[dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each view with its tables closed, then with its tables open."""
    for name, of_page in views.items():
        for view in of_page:
            for state in ("closed", "open"):
                yield f"{name}, {view['width']}, {view['scheme']}, {state}", view[state]


def test_page_asks_for_nothing_and_has_no_error(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    for view in (view for views in seen.values() for view in views):
        assert (view["requests"], view["complaints"]) == ([], [])


def test_page_never_scrolls_sideways(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    for where, state in states(seen):
        assert state["pageWidth"] <= state["windowWidth"], where
        assert state["wide"] == 0, where


def test_text_is_readable_in_the_light_and_in_the_dark(
    seen: Mapping[str, list[dict[str, Any]]],
) -> None:
    for where, state in states(seen):
        assert len(state["texts"]) > 15, where
        assert state["paper"] < 0.1 if "dark" in where else state["paper"] > 0.9, where
        pale = [each for each in state["texts"] if each["contrast"] < LEAST_CONTRAST]
        small = [each for each in state["texts"] if each["size"] < LEAST_PIXELS]
        assert (pale, small) == ([], []), where


def test_charts_stay_inside_their_sections(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    for where, state in states({BUSY: seen[BUSY]}):
        assert [each["heading"] for each in state["charts"]] == [
            "Cost by day, EUR", "Cost by country, EUR", "Delivery status, share of records",
            "Latency, share of records",
        ], where  # fmt: skip
        for chart in state["charts"]:
            assert (chart["outside"], chart["overlapping"]) == ([], []), (where, chart["name"])
            assert chart["width"] > 250, (where, chart["name"])


def test_charts_have_names_descriptions_and_tables(
    seen: Mapping[str, list[dict[str, Any]]],
) -> None:
    view, *_ = seen[BUSY]
    for chart in view["closed"]["charts"]:
        assert chart["name"] == chart["heading"]
        assert chart["described"].endswith("The table below has the same numbers.")
        assert chart["rows"] > 1


def test_every_table_opens_by_keyboard(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    for view in seen[BUSY]:
        # Windows, totals, and for each of four charts its summary and its opened table.
        assert (view["opened"], view["stops"]) == (4, 10), view["width"]


def test_single_bars_are_tables(seen: Mapping[str, list[dict[str, Any]]]) -> None:
    assert [view["closed"]["charts"] for view in seen[SPARSE]] == [[]] * 6
