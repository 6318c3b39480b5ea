"""The command behind `make run`, as a process of its own in a copy of the tree."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local.simulator.process import Simulator
from local.stack.emulator import ROOT
from local.stack.environment import child_environment
from tests.end_to_end.conftest import BEING_COMPILED
from tests.support.contracts import check, check_notification
from tests.support.leaks import Forbidden
from vonage_reports_cli.last_run import DeliveringRun, OutRecord
from vonage_reports_cli.sql.dataset import Folder, open_dataset

ONE_DEFINITION = [{"name": "verify", "product": "VERIFY-V2"}]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy = tmp_path / "tree"
    for name in ("cli", "functions", "layers", "local"):
        # With the compiled modules, or Python would compile the whole tree for each test.
        shutil.copytree(ROOT / name, copy / name, ignore=BEING_COMPILED)
    shutil.copy(ROOT / "template.yaml", copy)
    (copy / "one.json").write_text(json.dumps(ONE_DEFINITION))
    return copy


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(seconds_per_report=0.5) as running:
        yield running


def start(
    tree: Path, module: str = "local.run", *arguments: str, **variables: str
) -> subprocess.Popen[str]:
    path = f"{tree}:{tree}/cli:{tree}/layers/shared:{tree}/layers/dataset"
    environment = child_environment({"PYTHONPATH": path, **variables})
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=tree,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(
    tree: Path, module: str = "local.run", *arguments: str, **variables: str
) -> tuple[int, str]:
    process = start(tree, module, *arguments, **variables)
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, output


def at(simulator: Simulator) -> dict[str, str]:
    return {
        "VONAGE_BASE_URL": simulator.url,
        "VONAGE_API_KEY": simulator.api_key,
        "VONAGE_API_SECRET": simulator.api_secret,
        "WAIT_SCALE": "0.01",
    }


STATUS = ("--local", "status", "--since", "2026-09-01")
"""Shows the windows of these tests at any present date."""


def status_of(tree: Path) -> dict[str, Any]:
    """Return the status of the last run, from the program."""
    code, text = run(tree, "vonage_reports_cli", *STATUS, "--json")
    assert code == 0, text
    document: dict[str, Any] = json.loads(text)
    return document


def out_of_an_earlier_run(tree: Path) -> None:
    """Deliver `out/` with one file of a run, and one of the operator."""
    out = tree / "out"
    (out / "manifests").mkdir(parents=True)
    for name in ("manifests/of-an-earlier-run.json", "own.txt"):
        (out / name).write_text("{}")
    (tree / ".local").mkdir()
    record = OutRecord(tree / ".local")
    record.begin(DeliveringRun("an earlier run", is_simulated=True))
    record.add(["manifests/of-an-earlier-run.json"])


def assert_out_is_unchanged(tree: Path) -> None:
    assert sorted(each.name for each in (tree / "out").rglob("*")) == [
        "manifests", "of-an-earlier-run.json", "own.txt",
    ]  # fmt: skip


def check_contracts_in(out: Path) -> None:
    """Check everything in the folder that readers outside rely on."""
    for line in (out / "notifications.jsonl").read_text().splitlines():
        check_notification(json.loads(line))
    for name, folder in (("manifest", "manifests"), ("receipt", "archives"), ("period", "periods")):
        for path in (out / folder).rglob("*.json"):
            check(name, json.loads(path.read_text()))


def processes_of(tree: Path) -> list[str]:
    """Return the processes whose working directory is in `tree`: those that a run started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(tree):
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # the process has ended, or belongs to another user
    return found


def read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    pytest.fail(f"the run ended without {word!r}")


def assert_nothing_is_left(tree: Path) -> None:
    deadline = time.monotonic() + 10
    while left := processes_of(tree):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.slow
def test_reports_of_another_server_arrive_byte_for_byte(tree: Path, simulator: Simulator) -> None:
    simulator.reset()
    # The run ignores the user's own profile, which does not exist.
    profile = {"AWS_PROFILE": "production", "AWS_CONFIG_FILE": os.devnull}
    code, output = run(tree, **at(simulator), **profile)
    assert code == 0, output
    archives = (tree / "out").glob("archives/**/*.zip")
    generated = {each["request_id"]: each["sha256"] for each in simulator.state()["reports"]}
    assert len(generated) == 9
    assert {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in archives
    } == generated
    announced = (tree / "out" / "notifications.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in announced] == ["report.delivered"] * 9
    assert len(list((tree / "out").glob("manifests/**/*.json"))) == 9
    check_contracts_in(tree / "out")
    assert len(list((tree / "out").glob("data/**/*.parquet"))) == 9
    page = (tree / "out" / "usage.html").read_text()
    said = {"output": output, "notifications": announced, "page": page}
    assert Forbidden.of(simulator).within(said) == []


def assert_answers_agree(tree: Path) -> None:
    """Check that the manifest, the dataset and the page agree."""
    [manifest] = [json.loads(f.read_text()) for f in (tree / "out").glob("manifests/**/*.json")]
    [total] = manifest["totals"]
    sql = "SELECT currency, count(*), CAST(sum(cost) AS varchar) FROM usage GROUP BY ALL"
    with open_dataset(Folder(tree / "out")) as connection:
        [(currency, rows, cost)] = connection.execute(sql).fetchall()
    assert (currency, rows) == (total["currency"], total["rows"])
    assert Decimal(cost) == Decimal(total["total_price"]) > 0
    page = (tree / "out" / "usage.html").read_text()
    assert f"<td>{rows:,}</td><td>{Decimal(total['total_price']):,}</td>" in page
    assert "Windows: 1 delivered, 0 of them preliminary; none known to be missing." in page


def test_run_without_variables_starts_and_stops_a_simulator(
    tree: Path,
) -> None:
    out_of_an_earlier_run(tree)
    code, output = run(tree, DEFINITIONS="one.json", SCHEDULED_TIME="2026-11-04T02:15:00Z")
    assert code == 0, output
    result, results, following = output.splitlines()[-3:]
    assert re.fullmatch(r"1 of 1 delivered, 3,000 rows, [\d.]+ kB, \d+ s", result)
    assert results == (
        "Results: out/, charts: out/usage.html, notifications: out/notifications.jsonl"
    )
    assert following == "Next: .venv/bin/vonage-reports --local status"
    assert "archives/" not in output
    (row,) = status_of(tree)["definitions"]
    assert (row["definition"], row["delivered"]) == ("verify", 1)
    assert "DELIVERED   verify-20261031T0000Z-" in output
    [manifest] = [
        json.loads(path.read_text()) for path in (tree / "out").glob("manifests/**/*.json")
    ]
    in_the_table = re.findall(r"^VERIFY-V2 .* ([\d,]+) +[\d.]+ EUR$", output, re.MULTILINE)
    assert sum(int(rows.replace(",", "")) for rows in in_the_table) == manifest["rows"] > 0
    dataset = tree / "out" / manifest["dataset"]["key"]
    assert hashlib.sha256(dataset.read_bytes()).hexdigest() == manifest["dataset"]["sha256"]
    assert sorted(each.name for each in (tree / "out").iterdir()) == [
        "archives",
        "data",
        "definitions",
        "headers",
        "manifests",
        "notifications.jsonl",
        "own.txt",
        "periods",
        "usage.html",
    ]
    october = json.loads((tree / "out" / "periods" / "2026" / "10" / "1.json").read_text())
    assert [each["report_id"] for each in october["manifests"]] == [manifest["report_id"]]
    told = (tree / "out" / "notifications.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in told]
    assert events == ["report.delivered", "period.complete"]
    assert_answers_agree(tree)
    assert sorted(each.name for each in (tree / ".local").iterdir()) == [
        "last-run.json", "lock", "out.jsonl",
    ]  # fmt: skip
    assert processes_of(tree) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_no_process_and_no_state(
    tree: Path, interruption: signal.Signals
) -> None:
    process = start(tree, DEFINITIONS="one.json", WAIT_SCALE="1")
    read_until(process, " SUBMITTED ")
    assert len(processes_of(tree)) >= 4  # the command, the simulator, the emulator, a function
    process.send_signal(interruption)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert processes_of(tree) == []
    assert sorted(each.name for each in (tree / ".local").iterdir()) == [
        "last-run.json", "lock", "undelivered",
    ]  # fmt: skip
    # The status still shows the progress.
    (row,) = status_of(tree)["definitions"]
    assert (row["definition"], row["in_flight"]) == ("verify", 1)


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked up in /proc")
def test_killed_run_leaves_no_process(tree: Path) -> None:
    process = start(tree, DEFINITIONS="one.json", WAIT_SCALE="1")
    read_until(process, " SUBMITTED ")
    process.kill()
    process.communicate(timeout=30)
    assert_nothing_is_left(tree)


def test_refused_credentials_end_the_run_and_name_the_secret(
    tree: Path, simulator: Simulator
) -> None:
    simulator.reset()
    code, output = run(tree, **{**at(simulator), "VONAGE_API_SECRET": "wrong"})
    assert code == 2, output
    *_, sentence, result, _, _ = output.splitlines()
    assert sentence.startswith("make run: 9 reports: ")
    assert ":secret:" in sentence
    assert sentence.endswith(
        "; for make run, correct VONAGE_API_KEY and VONAGE_API_SECRET; no report was requested"
    )
    assert re.fullmatch(r"0 of 9 delivered, \d+ s", result)
    assert (output.count("make run:"), output.count("401")) == (1, 1)
    assert simulator.state()["reports"] == []


def test_unreachable_server_ends_the_run(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    variables = {"VONAGE_API_KEY": "abcd1234", "VONAGE_API_SECRET": "x", "WAIT_SCALE": "0.01"}
    code, output = run(tree, VONAGE_BASE_URL=url, **variables)
    assert code == 2, output
    assert output.count("cannot be reached") == 1


@pytest.mark.slow
def test_refused_account_does_not_stop_the_others(tree: Path, simulator: Simulator) -> None:
    simulator.reset()
    definitions = [*ONE_DEFINITION, {**ONE_DEFINITION[0], "name": "x", "account_ids": ["none1"]}]
    (tree / "two.json").write_text(json.dumps(definitions))
    code, output = run(tree, **at(simulator), DEFINITIONS="two.json")
    assert code == 1, output
    assert "DELIVERED   verify-" in output
    *_, sentence, result, _, _ = output.splitlines()
    assert "403" in sentence
    assert result.startswith("1 of 2 delivered, ")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"DEFINITIONS": "none.json"}, "DEFINITIONS: none.json cannot be read"),
        ({"SCHEDULED_TIME": "yesterday"}, "SCHEDULED_TIME is 'yesterday'"),
        ({"VONAGE_API_KEY": "abcd1234"}, "VONAGE_API_SECRET is not set"),
    ],
)
def test_bad_input_is_one_sentence(tree: Path, variables: dict[str, str], sentence: str) -> None:
    code, output = run(tree, **variables)
    assert code == 2
    assert output.startswith(f"make run: {sentence}")
    assert len(output.splitlines()) == 1


def test_unknown_event_is_one_sentence(tree: Path) -> None:
    (tree / "event.json").write_text('{"sweeep": true}')
    code, output = run(tree, EVENT="event.json")
    assert code == 2
    assert output.startswith("make run: EVENT: event.json: sweeep: no such event")
    assert len(output.splitlines()) == 1


def test_refused_event_leaves_out_unchanged(tree: Path) -> None:
    out_of_an_earlier_run(tree)
    write_event(tree, definition="sms")
    code, output = run(tree, EVENT="event.json", DEFINITIONS="one.json")
    assert code == 2
    assert output.splitlines()[-1] == (
        "make run: no report definition is named sms; the usable names: verify"
    )
    assert_out_is_unchanged(tree)


def test_unconfirmed_run_leaves_out_unchanged(tree: Path) -> None:
    out_of_an_earlier_run(tree)
    # The run refuses a file of the operator even earlier, because out/ is going to be a link.
    (tree / "out" / "own.txt").unlink()
    variables = {"VONAGE_API_KEY": "abcd1234", "VONAGE_API_SECRET": "x"}
    code, output = run(tree, VONAGE_BASE_URL="https://vonage.invalid", **variables)
    assert code == 2
    assert "set CONFIRM=yes" in output.strip().splitlines()[-1]
    (tree / "out" / "own.txt").touch()
    assert_out_is_unchanged(tree)


def test_second_run_in_a_folder_is_refused(tree: Path) -> None:
    first = start(tree, DEFINITIONS="one.json", WAIT_SCALE="1")
    read_until(first, "the emulator listens")
    code, output = run(tree, DEFINITIONS="one.json")
    assert code == 2
    assert output == (
        "make run: another make run is using this folder: wait until it ends, or stop it\n"
    )
    read_until(first, " SUBMITTED ")
    # SIGHUP: the terminal was closed.
    first.send_signal(signal.SIGHUP)
    output, _ = first.communicate(timeout=30)
    assert first.returncode == 130, output


@pytest.mark.slow
def test_missing_and_refused_definitions_are_named(tree: Path) -> None:
    (tree / "none.json").write_text("[]")
    code, output = run(tree, DEFINITIONS="none.json")
    assert (code, output) == (2, "make run: DEFINITIONS: none.json has no report definition\n")
    (tree / "odd.json").write_text('[{"name": "x"}]')
    code, output = run(tree, DEFINITIONS="odd.json")
    assert code == 2
    assert "Nothing is due" not in output


def test_interruption_during_the_start_prints_no_traceback(tree: Path) -> None:
    for seconds in (0.15, 0.3, 0.5):
        process = start(tree, DEFINITIONS="one.json")
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 130, output
        assert output.endswith("Interrupted. Nothing is left running.\n")
        assert "Traceback" not in output


def test_port_in_use_is_one_sentence(tree: Path, simulator: Simulator) -> None:
    port = simulator.url.rsplit(":", 1)[1]
    process = start(tree, "local.simulator", "--port", port)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert output.startswith(f"simulator: cannot listen on 127.0.0.1:{port}: ")
    assert len(output.splitlines()) == 1


BACKFILL = {"backfill": {"definition": "verify", "start": "2026-10-01", "end": "2026-10-25"}}


def write_event(tree: Path, **changes: object) -> None:
    (tree / "event.json").write_text(json.dumps({"backfill": {**BACKFILL["backfill"], **changes}}))


@pytest.mark.slow
def test_backfill_is_followed_to_its_end_in_a_few_lines(tree: Path) -> None:
    write_event(tree)
    code, output = run(tree, EVENT="event.json", DEFINITIONS="one.json")
    assert code == 0, output
    name = "verify-20261001-20261025"
    assert f"backfill {name}: 24 of 24 windows\n" in output
    assert "verify, abcd1234, 2026-10-01 to 2026-10-24: 24 DELIVERED, 72,000 rows" in output
    assert len(output.splitlines()) < 32
    assert len(list((tree / "out").glob("manifests/**/*.json"))) == 24

    document = status_of(tree)
    (row,) = document["definitions"]
    assert (row["delivered"], row["waiting"], row["missing"]) == (24, 0, 0)
    assert document["backfills"] == document["problems"] == []
    code, text = run(tree, "vonage_reports_cli", *STATUS)
    assert code == 0, text
    assert text.startswith("SIMULATED: the last make run, against http://127.0.0.1:")
    assert "2026-10-24, final" in text


def test_dry_run_prints_its_plan_and_changes_nothing(tree: Path) -> None:
    out_of_an_earlier_run(tree)
    write_event(tree, dry_run=True)
    code, output = run(tree, EVENT="event.json", DEFINITIONS="one.json")
    assert code == 0, output
    assert output.splitlines()[-1] == (
        "This event would request the backfill verify-20261001-20261025: 24 reports, "
        "2026-10-01T00:00:00Z to 2026-10-25T00:00:00Z, records: unknown"
    )
    assert_out_is_unchanged(tree)
    assert sorted(each.name for each in (tree / ".local").iterdir()) == ["lock", "out.jsonl"]
    code, output = run(tree, "vonage_reports_cli", "--local", "status")
    assert code == 2
    assert output.startswith("vonage-reports: no make run has ended in ")


@pytest.mark.slow
def test_split_day_is_one_window_of_the_summary(tree: Path) -> None:
    with Simulator(seconds_per_report=0.5, rows_per_day=3000, max_records=2000) as small:
        code, output = run(
            tree,
            **at(small),
            DEFINITIONS="one.json",
            SCHEDULED_TIME="2026-11-22T02:15:00Z",
            KEYS="1",
        )
    assert code == 0, output
    assert " SPLIT       verify-20261118T0000Z-" in output
    assert " STORED        part from 2026-11-18 12:00 UTC, 12 h" in output
    _, summary, costs, _ = output.split("\n\n")
    window, *archives, manifest = summary.splitlines()
    assert re.match(r"verify-20261118T0000Z-\w+  DELIVERED, 3,000 rows, ", window)
    assert len(archives) == 2
    assert manifest.startswith("  manifests/")
    assert costs.startswith("product ")


def test_run_without_a_delivery_leaves_out_unchanged(tree: Path, simulator: Simulator) -> None:
    simulator.reset()
    out_of_an_earlier_run(tree)
    refused = [{**ONE_DEFINITION[0], "account_ids": ["none1"]}]
    (tree / "refused.json").write_text(json.dumps(refused))
    code, output = run(tree, **at(simulator), DEFINITIONS="refused.json")
    assert code == 1, output
    assert output.splitlines()[-3:] == [
        "Nothing was delivered: out/ still has an earlier run's results.",
        "Results: .local/undelivered/, notifications: .local/undelivered/notifications.jsonl",
        "Next: .venv/bin/vonage-reports --local status",
    ]
    assert_out_is_unchanged(tree)
    # The last run was no simulation of this program's, but `out/` is one.
    code, text = run(tree, "vonage_reports_cli", *STATUS)
    assert code == 0, text
    assert re.match(
        r"SIMULATED: the last make run, against \S+, which has delivered nothing; out/ is from an "
        "earlier run: an earlier run, as of ",
        text,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is simulated by /dev/full")
def test_full_disk_is_one_sentence(tree: Path) -> None:
    (tree / ".local").mkdir()
    (tree / ".local" / "last-run.json.partial").symlink_to("/dev/full")
    code, output = run(tree, DEFINITIONS="one.json")
    assert code == 2, output
    assert output.splitlines()[-1] == (
        f"make run: cannot write below {tree}: No space left on device"
    )
    assert "Traceback" not in output


def test_argument_starts_nothing(tree: Path) -> None:
    code, output = run(tree, "local.run", "--help")
    assert (code, len(output.splitlines())) == (0, 1)
    assert not (tree / ".local").exists()
