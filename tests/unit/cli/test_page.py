"""The page of charts has the dataset's numbers and needs no network."""

import json
import re
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.support.delivered import Delivered
from vonage_reports_cli.page import NAME, write_page

PHONE = "447700900123"


class Page(HTMLParser):
    """The page's titles, cells, embedded figures and external references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.titles: list[str] = []
        self.cells: list[str] = []
        self.references: list[str] = []
        self.policy = ""
        self.figures: list[dict[str, Any]] = []
        self._in = ""
        self._is_data = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in = tag
        given = dict(attrs)
        self.references += [each or "" for name, each in attrs if name in ("src", "href", "action")]
        self._is_data = given.get("type") == "application/json"
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""

    def handle_endtag(self, _tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "h2":
            self.titles.append(data)
        elif self._in == "td":
            self.cells.append(data)
        elif self._in == "script" and self._is_data:
            self.figures = json.loads(data)

    def chart(self, title: str) -> dict[str, dict[str, Any]]:
        """Return the bars of a chart by name."""
        return {bar["name"]: bar for bar in self.figures[self.titles.index(title)]["data"]}


@pytest.fixture
def out(tmp_path: Path) -> Delivered:
    return Delivered(tmp_path / "out")


def page_of(out: Delivered) -> Page:
    assert write_page(out.root) == out.root / NAME
    return Page((out.root / NAME).read_text())


def sms(id_: str, price: str, **cells: str) -> dict[str, str]:
    return {
        "id": id_, "date_received": "2026-11-19T10:00:00Z", "from": "ACME", "to": PHONE,
        "country": "GB", "status": "delivered", "total_price": price, "latency": "499", **cells,
    }  # fmt: skip


def test_charts_hold_the_exact_sums(out: Delivered) -> None:
    first, last = "2026-11-19T10:00:00Z", "2026-11-21T10:00:00Z"
    records = [
        sms("r1", "0.1", date_received=first),
        sms("r2", "0.20000001", date_received=first, country="NA", latency="500"),
        sms("r3", "7", date_received=last, status="failed", latency="60000"),
    ]
    out.deliver("SMS", records, definition="x")
    out.deliver("SMS", records, definition="again")
    call = {"id": "c", "date_start": last, "total_price": "2.5", "currency": "USD", "country": ""}
    out.deliver("VOICE-CALL", [call], definition="calls")

    page = page_of(out)

    by_day = page.chart("Cost by day, account's currency")["SMS"]
    # A day without records stays on the axis.
    assert by_day["x"] == ["2026-11-19", "2026-11-20", "2026-11-21"]
    assert by_day["y"] == ["0.30000001", None, "7"]
    assert page.chart("Cost by day, USD")["VOICE-CALL"]["y"] == ["2.5"]
    by_country = page.chart("Cost by country, account's currency")["SMS"]
    assert dict(zip(by_country["y"], by_country["x"], strict=True)) == {
        "GB": "7.1", "NA": "0.20000001",
    }  # fmt: skip
    assert "Cost by country, USD" not in page.titles
    statuses = page.chart("Delivery status, share of records")
    assert (statuses["delivered"]["x"], statuses["failed"]["x"]) == ([66.67], [33.33])
    latency = page.chart("Latency, share of records")["SMS"]
    assert latency["customdata"] == [1, 1, 0, 0, 0, 0, 0, 1]
    assert page.cells == ["SMS", "account's currency", "3", "7.30000001",
                          "VOICE-CALL", "USD", "1", "2.50000000"]  # fmt: skip


def test_page_names_the_currency_and_counts_preliminary_records(out: Delivered) -> None:
    out.deliver(
        "SMS", [sms("r1", "0.5"), sms("r2", "0", country="NA")],
        definition="x", currency="EUR", revision="preliminary",
    )  # fmt: skip

    page = page_of(out)

    assert page.cells == ["SMS", "EUR", "2", "0.50"]
    # A country without cost has no bar.
    assert page.chart("Cost by country, EUR")["SMS"]["y"] == ["GB"]
    assert "2 are preliminary" in (out.root / NAME).read_text()


def test_cheapest_countries_share_one_bar(out: Delivered) -> None:
    codes = [f"{a}{b}" for a in "ABCDE" for b in "KLMNO"]
    out.deliver(
        "SMS",
        [sms(code, str(place + 1), country=code) for place, code in enumerate(codes)],
        definition="x",
    )

    bar = page_of(out).chart("Cost by country, account's currency")["SMS"]

    assert len(bar["y"]) == 16
    assert (bar["y"][0], bar["x"][0]) == ("EO", "25")
    assert (bar["y"][-1], bar["x"][-1]) == ("10 others", "55")


def test_cheapest_products_share_one_bar_and_no_cost_is_lost(out: Delivered) -> None:
    products = ["VOICE-CALL", "IN-APP-VOICE", "WEBSOCKET-CALL", "ASR", "AMD", "VERIFY-V2",
                "VIDEO-API", "VOICE-TTS", "REPORTS-USAGE"]  # fmt: skip
    times = dict.fromkeys(
        ("date_start", "start_time", "date_received", "creation_date"), "2026-11-19T10:00:00Z"
    )
    for place, product in enumerate(products):
        record = {"id": "r", "total_price": f"{place + 1}.25", "currency": "EUR", **times}
        out.deliver(product, [record], definition=product.lower())

    bars = page_of(out).chart("Cost by day, EUR")

    assert len(bars) == 8
    assert bars["other products"]["y"] == ["3.5"]
    assert sum(Decimal(bar["y"][0]) for bar in bars.values()) == Decimal("47.25")


def test_page_fetches_nothing_and_forbids_it(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.1")], definition="x")

    page = page_of(out)

    assert page.references == []
    assert "default-src 'none'" in page.policy
    assert not re.search(r"https?:", page.policy)


def test_page_has_no_phone_number(out: Delivered) -> None:
    out.deliver("SMS", [sms("r1", "0.1")], definition="x")

    write_page(out.root)

    assert PHONE not in (out.root / NAME).read_text()


def test_text_of_a_record_is_never_markup(out: Delivered) -> None:
    status = "</script><script>alert(1)</script>"
    out.deliver("SMS", [sms("r1", "0.1", status=status, currency="<b>")], definition="x")

    page = page_of(out)

    assert status in page.chart("Delivery status, share of records")
    assert "Cost by day, <b>" in page.titles


def test_records_without_cost_or_status_give_no_charts(out: Delivered) -> None:
    out.deliver("SMS-TRAFFIC-CONTROL", [{"id": "r", "queued_time": ""}], definition="x")

    page = page_of(out)

    assert (page.titles, page.figures) == ([], [])
    assert page.cells[0] == "SMS-TRAFFIC-CONTROL"


def test_page_of_an_empty_delivery_says_so(out: Delivered) -> None:
    out.deliver("SMS", [], definition="x")

    assert page_of(out).titles == []
    assert "No records were delivered." in (out.root / NAME).read_text()


def test_no_dataset_gives_no_page(out: Delivered) -> None:
    out.root.mkdir()

    assert write_page(out.root) is None
    assert list(out.root.iterdir()) == []
