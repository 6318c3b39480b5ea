"""The last run and the run that delivered `out/` may differ, and the program says so."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.last_run import DeliveringRun, LastRunTarget, OutRecord
from vonage_reports_cli.status.sources import LastRun

REAL, SIMULATED = "against https://api.nexmo.com", "against http://127.0.0.1:1"


def last_run(root: Path, source: str, *, is_simulated: bool) -> LastRunTarget:
    (root / ".local").mkdir(exist_ok=True)
    LastRun(root / ".local").write(
        [],
        source=source,
        is_simulated=is_simulated,
        definitions="[]",
        as_of=datetime(2026, 11, 26, 11, tzinfo=UTC),
    )
    return LastRunTarget(root)


def delivered_by(root: Path, source: str, *, is_simulated: bool) -> None:
    OutRecord(root / ".local").begin(DeliveringRun(source, is_simulated))


def test_source_is_the_run_that_delivered(tmp_path: Path) -> None:
    run = last_run(tmp_path, REAL, is_simulated=False)
    delivered_by(tmp_path, REAL, is_simulated=False)

    assert run.source == f"{REAL}, as of 2026-11-26 11:00:00 UTC"
    assert not run.is_simulated


def test_simulated_results_of_an_earlier_run_are_never_taken_for_real(tmp_path: Path) -> None:
    run = last_run(tmp_path, REAL, is_simulated=False)
    delivered_by(tmp_path, SIMULATED, is_simulated=True)

    assert run.is_simulated
    assert run.label == (
        f"SIMULATED: {REAL}, which has delivered nothing; out/ is from an earlier run: {SIMULATED}"
    )


def test_results_of_an_earlier_version_are_the_last_runs(tmp_path: Path) -> None:
    run = last_run(tmp_path, SIMULATED, is_simulated=True)

    assert run.is_simulated
    assert run.label == f"SIMULATED: {SIMULATED}"


def test_garbled_record_is_one_sentence(tmp_path: Path) -> None:
    run = last_run(tmp_path, SIMULATED, is_simulated=True)
    (tmp_path / ".local" / OutRecord.NAME).write_text("{\n")

    with pytest.raises(BadInput, match=r"out\.jsonl is garbled: delete it"):
        _ = run.label
