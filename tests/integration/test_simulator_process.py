"""The simulator as a process: it announces its URL, stops at once, cleans up and stays small."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.simulator.process import Simulator
from tests.support.paths import ROOT

MEGABYTE = 1024 * 1024


@contextmanager
def started(tmp_path: Path, *options: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    command = [sys.executable, "-m", "local.simulator", "--rows-per-day", "100000", *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())["url"]
        finally:
            process.kill()


def post(url: str, api_key: str, api_secret: str, body: dict[str, Any]) -> dict[str, Any]:
    credentials = b64encode(f"{api_key}:{api_secret}".encode()).decode()
    request = urllib.request.Request(
        f"{url}/v2/reports",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Basic {credentials}", "User-Agent": "tests"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        document: dict[str, Any] = json.load(response)
        return document


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_simulator_while_rendering(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path, "--api-secret", "x") as (process, url):
        body = {"product": "MESSAGES", "account_id": "abcd1234", "direction": "outbound"}
        post(url, "abcd1234", "x", body)
        assert len(list(tmp_path.iterdir())) == 1
        begun = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 2
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []


def test_simulator_stops_when_parent_closes_stdin(tmp_path: Path) -> None:
    with started(tmp_path, "--until-stdin-closes") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_closed_stdin_is_ignored_without_the_option(tmp_path: Path) -> None:
    with started(tmp_path) as (process, url):
        assert process.stdin is not None
        process.stdin.close()
        with urllib.request.urlopen(f"{url}/control/state", timeout=30) as response:
            assert response.status == 200
        assert process.poll() is None


def test_simulator_listens_on_loopback_only(tmp_path: Path) -> None:
    with started(tmp_path) as (_, url):
        assert url.startswith("http://127.0.0.1:")


def test_unknown_setting_is_refused() -> None:
    command = [sys.executable, "-m", "local.simulator", "--settings", '{"colour": "red"}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=30)
    assert done.returncode == 2
    assert done.stderr == b"simulator: no such setting: colour\n"


def test_context_manager_leaves_no_process() -> None:
    with Simulator() as simulator:
        pid = simulator.pid
        assert simulator.state()["reports"] == []
        assert len(simulator.numbers()) >= 9
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stop_is_idempotent() -> None:
    simulator = Simulator()
    simulator.stop()
    simulator.stop()


def test_failed_start_raises() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        Simulator(colour="red")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_large_report_takes_little_memory() -> None:
    body = {"product": "SMS", "account_id": "abcd1234", "direction": "outbound"}
    window = {"date_start": day(3), "date_end": day(2)}
    with Simulator(rows_per_day=2_000, seconds_per_report=0, requests_per_second=0) as simulator:
        settle(
            simulator,
            post(simulator.url, simulator.api_key, simulator.api_secret, {**body, **window}),
        )
        before = resident_bytes(simulator.pid)
        simulator.settings(rows_per_day=200_000, rows_per_second=0)
        report = settle(
            simulator,
            post(simulator.url, simulator.api_key, simulator.api_secret, {**body, **window}),
        )
        assert report["items_count"] == 200_000
        assert report["bytes"] > 10 * MEGABYTE
        assert resident_bytes(simulator.pid) - before < 8 * MEGABYTE


def day(days_ago: int) -> str:
    return time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(time.time() - days_ago * 86_400))


def settle(simulator: Simulator, created: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for report in simulator.state()["reports"]:
            if report["request_id"] == created["request_id"] and report["bytes"]:
                found: dict[str, Any] = report
                return found
        time.sleep(0.01)
    raise AssertionError("the report was not rendered")
