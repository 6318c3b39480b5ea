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

import pytest

from local.simulator.process import Simulator
from local.stack.emulator import ROOT
from local.stack.environment import child_environment
from tests.end_to_end.conftest import BEING_COMPILED
from tests.support.leaks import Forbidden

ONE_DEFINITION = [{"name": "verify", "product": "VERIFY-V2"}]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    copy = tmp_path / "tree"
    for name in ("functions", "layers", "local"):
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
    path = f"{tree}:{tree}/layers/shared:{tree}/layers/dataset"
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


def run(tree: Path, module: str = "local.run", **variables: str) -> tuple[int, str]:
    process = start(tree, module, **variables)
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
    assert len(generated) == 8
    assert {
        path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in archives
    } == generated
    announced = (tree / "out" / "notifications.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in announced] == ["report.delivered"] * 8
    assert len(list((tree / "out").glob("manifests/**/*.json"))) == 8
    assert len(list((tree / "out").glob("data/**/*.parquet"))) == 8
    page = (tree / "out" / "usage.html").read_text()
    said = {"output": output, "notifications": announced, "page": page}
    assert Forbidden.of(simulator).within(said) == []


def assert_answers_agree(tree: Path) -> None:
    """Check that the manifest, `make query` and the page agree."""
    [manifest] = [json.loads(f.read_text()) for f in (tree / "out").glob("manifests/**/*.json")]
    [total] = manifest["totals"]
    sql = "SELECT currency, count(*), CAST(sum(cost) AS varchar) FROM usage GROUP BY ALL"
    query = start(tree, "vonage_reports_cli.sql", SQL=sql)
    output, _ = query.communicate(timeout=60)
    assert query.returncode == 0, output
    currency, rows, cost = output.splitlines()[1].split()
    assert (currency, int(rows)) == (total["currency"], total["rows"])
    assert Decimal(cost) == Decimal(total["total_price"]) > 0
    page = (tree / "out" / "usage.html").read_text()
    assert f"<td>{int(rows):,}</td><td>{Decimal(total['total_price']):,}</td>" in page


def test_run_without_variables_starts_and_stops_a_simulator(
    tree: Path,
) -> None:
    (tree / "out").mkdir()
    (tree / "out" / "of-an-earlier-run").touch()
    code, output = run(tree, DEFINITIONS="one.json", SCHEDULED_TIME="2026-11-22T02:15:00Z")
    assert code == 0, output
    assert "DELIVERED   verify-20261118T0000Z-" in output
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
        "headers",
        "manifests",
        "notifications.jsonl",
        "usage.html",
    ]
    assert_answers_agree(tree)
    assert sorted(each.name for each in (tree / ".local").iterdir()) == ["last-run.json", "lock"]
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
    assert sorted(each.name for each in (tree / ".local").iterdir()) == ["last-run.json", "lock"]
    # The status still shows the progress.
    code, status = run(tree, "vonage_reports_cli.status", JSON="1")
    assert code == 0, status
    (row,) = json.loads(status)["definitions"]
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
    last = output.strip().splitlines()[-1]
    assert last.startswith("make run: 8 reports: ")
    assert ":secret:" in last
    assert last.endswith(
        "; for make run, correct VONAGE_API_KEY and VONAGE_API_SECRET; no report was requested"
    )
    assert output.count("make run:") == 1
    assert simulator.state()["reports"] == []


def test_unreachable_server_ends_the_run(tree: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    variables = {"VONAGE_API_KEY": "abcd1234", "VONAGE_API_SECRET": "x", "WAIT_SCALE": "0.01"}
    code, output = run(tree, VONAGE_BASE_URL=url, **variables)
    assert code == 2, output
    assert "cannot be reached" in output.strip().splitlines()[-1]


@pytest.mark.slow
def test_refused_account_does_not_stop_the_others(tree: Path, simulator: Simulator) -> None:
    simulator.reset()
    definitions = [*ONE_DEFINITION, {**ONE_DEFINITION[0], "name": "x", "account_ids": ["none1"]}]
    (tree / "two.json").write_text(json.dumps(definitions))
    code, output = run(tree, **at(simulator), DEFINITIONS="two.json")
    assert code == 1, output
    assert "DELIVERED   verify-" in output
    assert "403" in output.strip().splitlines()[-1]


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
    (tree / "out").mkdir()
    (tree / "out" / "of-an-earlier-run").touch()
    write_event(tree, definition="sms")
    code, output = run(tree, EVENT="event.json", DEFINITIONS="one.json")
    assert code == 2
    assert output.splitlines()[-1] == (
        "make run: no report definition is named sms; the usable names: verify"
    )
    assert [each.name for each in (tree / "out").iterdir()] == ["of-an-earlier-run"]


def test_unconfirmed_run_leaves_out_unchanged(tree: Path) -> None:
    (tree / "out").mkdir()
    (tree / "out" / "of-an-earlier-run").touch()
    variables = {"VONAGE_API_KEY": "abcd1234", "VONAGE_API_SECRET": "x"}
    code, output = run(tree, VONAGE_BASE_URL="https://vonage.invalid", **variables)
    assert code == 2
    assert "set CONFIRM=yes" in output.strip().splitlines()[-1]
    assert [each.name for each in (tree / "out").iterdir()] == ["of-an-earlier-run"]


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

    code, status = run(tree, "vonage_reports_cli.status", JSON="1")
    assert code == 0, status
    document = json.loads(status)
    (row,) = document["definitions"]
    assert (row["delivered"], row["waiting"], row["missing"]) == (24, 0, 0)
    assert document["backfills"] == document["problems"] == []
    code, text = run(tree, "vonage_reports_cli.status")
    assert code == 0, text
    assert text.startswith("the last make run, against http://127.0.0.1:")
    assert "2026-10-24, final" in text


def test_dry_run_prints_its_plan_and_changes_nothing(tree: Path) -> None:
    (tree / "out").mkdir()
    (tree / "out" / "of-an-earlier-run").touch()
    write_event(tree, dry_run=True)
    code, output = run(tree, EVENT="event.json", DEFINITIONS="one.json")
    assert code == 0, output
    assert output.splitlines()[-1] == (
        "This event would request the backfill verify-20261001-20261025: 24 reports, "
        "2026-10-01T00:00:00Z to 2026-10-25T00:00:00Z, records: unknown"
    )
    assert [each.name for each in (tree / "out").iterdir()] == ["of-an-earlier-run"]
    assert [each.name for each in (tree / ".local").iterdir()] == ["lock"]
    code, output = run(tree, "vonage_reports_cli.status", JSON="1")
    assert code == 2
    assert output == (
        "make status: no run on this machine yet; start `make run`, or name a deployed stack with "
        "STACK=\n"
    )


@pytest.mark.slow
def test_split_day_is_one_window_of_the_summary(tree: Path) -> None:
    with Simulator(seconds_per_report=0.5, rows_per_day=3000, max_records=2000) as small:
        code, output = run(
            tree, **at(small), DEFINITIONS="one.json", SCHEDULED_TIME="2026-11-22T02:15:00Z"
        )
    assert code == 0, output
    assert " SPLIT       verify-20261118T0000Z-" in output
    assert " STORED        part from 2026-11-18 12:00 UTC, 12 h" in output
    _, summary, costs, _ = output.split("\n\n")
    first, state, *archives, manifest = summary.splitlines()
    assert first.startswith("verify-20261118T0000Z-")
    assert state.startswith("  DELIVERED, 3,000 rows, ")
    assert len(archives) == 2
    assert manifest.startswith("  manifests/")
    assert costs.startswith("product ")


def test_status_without_region_or_credentials_is_one_sentence(tree: Path) -> None:
    nowhere = {"AWS_DEFAULT_REGION": "", "AWS_REGION": ""}
    for variables, problem in (
        (nowhere, "You must specify a region"),
        (
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            "Unable to locate credentials",
        ),
    ):
        code, output = run(tree, "vonage_reports_cli.status", STACK="prod", **variables)
        assert code == 2, output
        assert output.startswith(f"make status: STACK=prod: {problem}; set the AWS account")
        assert len(output.splitlines()) == 1
