"""The ledger and the objects of a server that bills are saved for the next emulator."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.output.delivery import Delivery
from local.runner.confirmation import plan_of
from local.runner.progress import Progress
from local.runner.saved_state import SavedState
from local.simulator.process import Simulator
from local.stack.deployment import Stack, deploy
from local.stack.emulator import Emulator
from local.stack.scheduler import Scheduler
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.report import State
from vonage_reports.domain.windows import parse_instant

pytestmark = pytest.mark.slow

DEFINITIONS = json.dumps(
    [
        {"name": "sms", "product": "SMS", "filters": {"direction": "outbound"}},
        {"name": "verify", "product": "VERIFY-V2"},
    ]
)
SCHEDULED = {"scheduled_time": "2026-11-22T02:15:00Z"}
WAIT_SCALE = 0.01


class SavedRun:
    """One run of `make run` against a server that bills, without its display."""

    def __init__(self, emulator: Emulator, stack: Stack, saved: SavedState) -> None:
        self.delivery = Delivery(emulator, stack, saved.out)
        self.ledger = Ledger(emulator.table(stack.outputs["TableName"]))
        self.progress = Progress(self.ledger, self.delivery)
        self.stack = stack
        saved.restore(emulator, stack, self.delivery)

    def until(self, state: State) -> None:
        """Send the event and sweeps until every report of the ledger is in `state`."""
        scheduler = Scheduler(self.stack, SCHEDULED, sweep_seconds=3, say=print)
        while True:
            scheduler.tick()
            self.delivery.update()
            self.progress.update()
            lines = self.progress.lines
            if scheduler.answer is not None and all(line.state is state for line in lines):
                scheduler.finish(60)
                scheduler.stop()
                return
            time.sleep(0.1)


@contextmanager
def saved_run(folder: Path, saved: SavedState, simulator: Simulator) -> Iterator[SavedRun]:
    with Emulator(folder, wait_scale=WAIT_SCALE) as emulator:
        stack = deploy(emulator, folder, vonage_base_url=simulator.url, wait_scale=WAIT_SCALE)
        stack.set_credentials(simulator.api_key, simulator.api_secret)
        stack.set_definitions(DEFINITIONS)
        running = SavedRun(emulator, stack, saved)
        yield running
        running.delivery.update()
        saved.save(stack.ledger_items(), running.delivery)


def test_interrupted_run_continues_and_requests_nothing_twice(
    tmp_path: Path,
) -> None:
    saved = tmp_path / "saved"
    with Simulator(seconds_per_report=15.0) as simulator:
        with saved_run(tmp_path / "1", SavedState(saved), simulator) as first:
            first.until(State.SUBMITTED)
        simulator.advance(20)
        with saved_run(tmp_path / "2", SavedState(saved), simulator) as second:
            open_ = {report.report_id for report in second.ledger.open_reports()}
            assert len(open_) == 2
            second.until(State.DELIVERED)
            assert {line.report_id for line in second.progress.lines} == open_
        bill = simulator.state()["bill"]
        with saved_run(tmp_path / "3", SavedState(saved), simulator) as third:
            assert third.stack.submit(SCHEDULED)["planned"] == []
        assert simulator.state()["bill"] == bill
        assert len(bill["reports"]) == 2
    assert len(list((saved / "out").glob("archives/**/*.zip"))) == 2
    assert len(list((saved / "out").glob("manifests/**/*.json"))) == 2


def test_plan_names_due_windows_and_the_rest_of_a_backfill(
    tmp_path: Path,
) -> None:
    now = parse_instant("2026-11-22T02:15:00Z")
    saved = SavedState(tmp_path / "saved")
    with (
        Simulator(seconds_per_report=0.5) as simulator,
        saved_run(tmp_path / "1", saved, simulator) as running,
    ):
        key = simulator.api_key
        assert plan_of(SCHEDULED, running.stack, running.ledger, api_key=key, now=now) == [
            f"request {name}: {product} of {key}, "
            "2026-11-18T00:00:00Z to 2026-11-19T00:00:00Z, final, records: unknown"
            for name, product in (("sms", "SMS"), ("verify", "VERIFY-V2"))
        ]
        running.until(State.DELIVERED)
        assert plan_of(SCHEDULED, running.stack, running.ledger, api_key=key, now=now) == []
        before = running.stack.ledger_items()
        event = {"backfill": {"definition": "sms", "start": "2026-11-01", "end": "2026-11-20"}}
        (line,) = plan_of(event, running.stack, running.ledger, api_key=key, now=now)
        assert line == (
            "request the backfill sms-20261101-20261120: 18 reports, "
            "2026-11-01T00:00:00Z to 2026-11-20T00:00:00Z, already delivered or under way: 1, "
            "records: about 54,000"
        )
        assert running.stack.ledger_items() == before
        again = {"recollect": {"report_id": running.progress.lines[0].report_id, "confirm": True}}
        (line,) = plan_of(again, running.stack, running.ledger, api_key=key, now=now)
        assert line.startswith(f"request {running.progress.lines[0].report_id}: 1 report, ")
        assert len(simulator.state()["reports"]) == 2

        simulator.settings(seconds_per_report=60)
        event = {"backfill": {"definition": "sms", "start": "2026-11-01", "end": "2026-11-11"}}
        assert len(running.stack.submit(event)["planned"]) == 4
        lines = plan_of({"sweep": True}, running.stack, running.ledger, api_key=key, now=now)
        assert lines[4] == (
            "resume the backfill sms-20261101-20261111: 6 of 10 reports left, records: about 18,000"
        )
