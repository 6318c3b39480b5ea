"""`vonage-reports page`: of a last run, and of a stack on AWS."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.stack.deployment import STACK_NAME
from tests.end_to_end.faults import Case
from tests.support.cli import Ended, run_program, stack_environment
from tests.support.delivered import Delivered
from tests.support.schemas import document_of
from vonage_reports_cli.status.sources import LastRun

RECORD = {
    "id": "r", "date_received": "2026-11-19T10:00:00Z", "country": "GB", "total_price": "0.25",
}  # fmt: skip


@pytest.fixture
def last_run(tmp_path: Path) -> Path:
    """Return a folder in which a run delivered a window."""
    Delivered(tmp_path / "out").deliver("SMS", [RECORD], definition="sms", currency="EUR")
    (tmp_path / ".local").mkdir()
    LastRun(tmp_path / ".local").write(
        [],
        source="the last make run, against http://127.0.0.1:1",
        is_simulated=True,
        definitions="[]",
        as_of=datetime(2026, 11, 26, 11, tzinfo=UTC),
    )
    return tmp_path


def page(folder: Path, *arguments: str) -> Ended:
    return run_program("--local", "page", *arguments, folder=folder)


def test_page_of_the_last_run_is_written_and_named(last_run: Path) -> None:
    done = page(last_run)

    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "SIMULATED: the last make run, against http://127.0.0.1:1, as of 2026-11-26 11:00:00 UTC",
        (
            "usage.html: 1 record; windows: 1 delivered, 0 of them preliminary; none known to be "
            "missing"
        ),
        (
            "SMS: 1 window was delivered with losses (sms, abcd1234, 2026-11-19): 1 row without "
            "the columns of price, currency or time."
        ),
    ]
    text = (last_run / "usage.html").read_text()
    assert "<strong>SIMULATED.</strong>" in text
    assert "Source: SIMULATED: the last make run, against http://127.0.0.1:1" in text


def test_json_of_a_month_follows_its_schema(last_run: Path) -> None:
    done = page(last_run, "--month", "2026-11", "-o", "november.html", "--json")

    assert (done.code, done.err) == (0, "")
    document = document_of("page", done.out)
    assert document["bytes"] == len((last_run / "november.html").read_bytes())
    assert document["totals"] == [
        {"product": "SMS", "currency": "EUR", "records": 1, "cost": "0.25000000"}
    ]
    assert (document["month"], document["is_simulated"]) == ("2026-11", True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--month", "2026-13"], "--month is '2026-13'; use a month like 2026-11"),
        (["--month", "november"], "--month is 'november'; use a month like 2026-11"),
        (["-o", "no/such/folder.html"], "cannot write no/such/folder.html: No such file or direct"),
        (["-o", "out"], "cannot write out: Is a directory"),
        (["-o", "."], "cannot write .: Is a directory"),
        (["-o", ""], "cannot write .: Is a directory"),
        (["november"], "Got unexpected extra argument (november)"),
    ],
)
def test_wrong_input_is_one_sentence(last_run: Path, arguments: list[str], sentence: str) -> None:
    done = page(last_run, *arguments)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"vonage-reports: {sentence}")
    assert len(done.err.splitlines()) == 1
    assert sorted(each.name for each in last_run.iterdir()) == [".local", "out"]


def test_folder_without_a_run_or_a_dataset_is_one_sentence(last_run: Path, tmp_path: Path) -> None:
    for file in (last_run / "out").rglob("*.parquet"):
        file.unlink()
    done = page(last_run)
    assert (done.code, done.out) == (2, "")
    assert done.err == "vonage-reports: out/ has no dataset yet; `make run` delivers one\n"
    (tmp_path / "elsewhere").mkdir()
    (last_run / ".local" / LastRun.NAME).unlink()
    assert page(tmp_path / "elsewhere").code == 2


@contextmanager
def delivered_window(case: Case, tmp_path: Path) -> Iterator[str]:
    """Put a window with a record into the bucket, and give its definition. Then remove it."""
    s3, bucket = case.stack.emulator.client("s3"), case.stack.stack.outputs["BucketName"]
    out = tmp_path / "delivered"
    Delivered(out).deliver("SMS", [RECORD], definition="of-the-page", currency="EUR")
    keys = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=(out / key).read_bytes())
    yield "of-the-page"
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)


@pytest.mark.slow
def test_page_of_a_stack_has_its_windows_and_says_that_it_is_simulated(
    case: Case, tmp_path: Path
) -> None:
    (report,) = case.all_delivered(case.collect())

    with delivered_window(case, tmp_path) as of_a_record:
        done = run_program(
            "page", "--json", folder=tmp_path,
            environment=stack_environment(case.stack.emulator, STACK_NAME),
        )  # fmt: skip

    assert (done.code, done.err) == (0, "")
    document = document_of("page", done.out)
    assert document["source"].startswith(
        f"SIMULATED: stack {STACK_NAME}, account 000000000000, eu-west-1, "
    )
    # The stack asks the simulator.
    assert document["is_simulated"]
    for definition in (report.definition, of_a_record):
        (windows,) = (each for each in document["windows"] if each["definition"] == definition)
        assert (windows["delivered"], windows["missing"], windows["held"]) == (1, 0, 0)
    assert {"product": "SMS", "currency": "EUR", "records": 1, "cost": "0.25000000"} in document[
        "totals"
    ]
    text = (tmp_path / "usage.html").read_text()
    assert f"Source: SIMULATED: stack {STACK_NAME}, account 000000000000" in text


def test_page_of_an_unreachable_stack_is_no_access(tmp_path: Path) -> None:
    done = run_program(
        "--stack", "prod", "page", folder=tmp_path,
        environment={
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1",
        },
    )  # fmt: skip

    assert (done.code, done.out) == (4, "")
    assert len(done.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
