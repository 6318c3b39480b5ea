"""The emulator's process, and the deployment to it."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.stack.deployment import DeploymentFailed, InvocationFailed, Stack, deploy
from local.stack.emulator import Emulator
from tests.end_to_end.conftest import copy_of_the_tree


def group_members(leader: int) -> list[str]:
    """Return the processes of a process group, as `ps` writes them."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if row[0] == str(leader) and not row[1].startswith("Z")]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Stack]]:
    """Deploy a stack for three tests, which change only its definitions."""
    folder = tmp_path_factory.mktemp("deployed")
    with Emulator(folder) as emulator:
        stack = deploy(emulator, folder, vonage_base_url="http://127.0.0.1:1", wait_scale=0)
        stack.set_credentials("key", "secret")
        yield emulator, stack


def test_emulator_listens_on_loopback_with_tls_only(deployed: tuple[Emulator, Stack]) -> None:
    emulator, _ = deployed
    port = int(emulator.url.rsplit(":", 1)[1])
    # A server that listens on every interface would answer here too.
    with pytest.raises(OSError), socket.create_connection(("127.0.0.2", port), 1):  # noqa: PT011 - any refusal will do
        pass
    with (
        pytest.raises(OSError),  # noqa: PT011 - any refusal will do
        urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=5),
    ):
        pass


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_killed_emulator_ends_its_functions(tmp_path: Path, how: int) -> None:
    with Emulator(tmp_path) as emulator:
        stack = deploy(emulator, tmp_path, vonage_base_url="http://127.0.0.1:1", wait_scale=0)
        stack.set_credentials("key", "secret")
        stack.submit({"sweep": True})
        leader = emulator.pid
        assert any("awslambdaric" in each for each in group_members(leader))
        os.kill(leader, how)
    assert not emulator.is_running()
    deadline = time.monotonic() + 30
    while group_members(leader) and time.monotonic() < deadline:
        pass  # the kernel is still removing the processes
    assert group_members(leader) == []


@pytest.mark.parametrize(
    ("resource", "reason"),
    [
        ("Type: AWS::No::Such", "AWS::No::Such"),
        (
            "{Type: AWS::Lambda::Function, Properties: {Role: !GetAtt ReportsTopic.Nothing}}",
            "Broken: .+",
        ),
    ],
)
def test_failed_deployment_names_the_resource_and_reason(
    tmp_path: Path, resource: str, reason: str
) -> None:
    tree = copy_of_the_tree(tmp_path)
    template = (tree / "template.yaml").read_text()
    separator = " " if resource.startswith("{") else "\n    "
    broken = template.replace("\nOutputs:\n", f"\n  Broken:{separator}{resource}\n\nOutputs:\n", 1)
    (tree / "template.yaml").write_text(broken)
    with (
        Emulator(tmp_path / "emulator") as emulator,
        pytest.raises(DeploymentFailed, match=reason),
    ):
        deploy(emulator, tmp_path, vonage_base_url="http://127.0.0.1:1", wait_scale=0, root=tree)


def test_function_has_only_the_templates_permissions(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path)
    template = (tree / "template.yaml").read_text()
    (tree / "template.yaml").write_text(re.sub(r"\n +- dynamodb:Query(?=\n)", "", template))
    with Emulator(tmp_path / "emulator") as emulator:
        stack = deploy(
            emulator, tmp_path, vonage_base_url="http://127.0.0.1:1", wait_scale=0, root=tree
        )
        stack.set_credentials("key", "secret")
        with pytest.raises(InvocationFailed, match=r"not authorized to perform: dynamodb:Query"):
            stack.submit({"sweep": True})


def test_schedules_are_disabled(deployed: tuple[Emulator, Stack]) -> None:
    emulator, stack = deployed
    schedules = emulator.client("scheduler").list_schedules()["Schedules"]
    assert {each["State"] for each in schedules} == {"DISABLED"}
    assert stack.schedule_event("SubmitReportsFunctionSweepSchedule") == {"sweep": True}
    assert stack.schedule_event(
        "SubmitReportsFunctionCalendarSchedule", scheduled_time="2026-11-22T02:15:00Z"
    ) == {"scheduled_time": "2026-11-22T02:15:00Z"}


def test_definitions_may_exceed_a_template_parameter(
    deployed: tuple[Emulator, Stack],
) -> None:
    _, stack = deployed
    stack.set_definitions(json.dumps([{"name": "x" * 30, "product": "SMS", "note": "n" * 6000}]))
    [refused] = stack.submit({"scheduled_time": "2026-11-22T02:15:00Z"})["refused"]
    assert (refused["definition"], refused["field"]) == ("x" * 30, "note")
