"""`python -m local.run`, the command behind `make run`: the main job, on this machine.

Starts the emulator and, unless another server is named, the Vonage simulator; deploys the template;
sends the event that the schedule would send, and the sweeps after it; shows how far the reports
are; and leaves what was delivered under `out/`.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError

from local.delivery import NOTIFICATIONS, Delivery
from local.deployment import DeploymentFailed, InvocationFailed, Stack, deploy
from local.display import Display, summary
from local.emulator import ROOT, Emulator, EmulatorFailed
from local.environment import forget_real_accounts
from local.kept import KeptState
from local.options import BadInput, Options, Server
from local.plan import plan_of
from local.progress import Progress
from local.simulator.process import Simulator
from local.wakes import Wakes, sweep_seconds
from vonage_reports.aws.ledger import Ledger

ALL_DELIVERED, NOT_DELIVERED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

STATE = ROOT / ".local"
OUT = ROOT / "out"

_TICK_SECONDS = 0.2
_REQUEST_SECONDS = 40
"""Longer than a request to Vonage can last."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run, and return the exit code."""
    forget_real_accounts()
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    display = Display()
    try:
        options = Options.from_environment(os.environ, now=datetime.now(UTC))
        with ExitStack() as resources:
            return _run(options, display, resources)
    except (BadInput, EmulatorFailed, DeploymentFailed, InvocationFailed) as error:
        display.complain(str(error))
        return BAD_INPUT
    except (NoConnection, HTTPClientError) as error:
        display.complain(f"the emulator does not answer any more: {error}")
        return BAD_INPUT
    except KeyboardInterrupt:
        display.print("Interrupted: everything that was started is stopped.")
        return INTERRUPTED


def _run(options: Options, display: Display, resources: ExitStack) -> int:
    """Deploy, send the event, follow it to its end; `resources` stops what was started."""
    kept = _kept_state(options.server, resources)
    server = options.server or _simulator(display, resources)
    emulator, stack = _deployed(options, server, display, resources)
    delivery = Delivery(emulator, stack, _out_folder(kept))
    if kept is not None:
        kept.restore(emulator, stack, delivery)
    ledger = Ledger(emulator.table(stack.outputs["TableName"]))
    event = options.event or stack.schedule_event(
        "SubmitReportsFunctionCalendar", scheduled_time=options.scheduled_time
    )
    if not server.is_on_loopback:
        lines = plan_of(event, stack, ledger, api_key=server.api_key, now=datetime.now(UTC))
        if not _confirmed(lines, server, options, display):
            display.print("Nothing was asked of Vonage.")
            return BAD_INPUT

    def keep() -> None:
        if kept is not None:
            kept.save(emulator, stack, delivery)

    progress = Progress(ledger, delivery)
    every = sweep_seconds(options.wait_scale)
    wakes = Wakes(stack, event, sweep_seconds=every, say=display.say)
    try:
        with display.live(lambda: progress.lines):
            _follow(wakes, progress, delivery, display, keep)
    finally:
        # A second Ctrl-C waits until what was paid for is written down.
        with _uninterrupted():
            if kept is not None:
                wakes.finish(_REQUEST_SECONDS)
            wakes.stop()
            if emulator.is_running():
                delivery.update()
                progress.update()
                keep()
    return _conclude(wakes.answer or {}, progress, delivery, display)


def _kept_state(server: Server | None, resources: ExitStack) -> KeptState | None:
    if server is None or server.is_on_loopback:
        return None
    kept = KeptState(STATE / server.name)
    resources.enter_context(kept.lock())
    return kept


def _simulator(display: Display, resources: ExitStack) -> Server:
    simulator = resources.enter_context(Simulator())
    display.say(f"the Vonage simulator listens on {simulator.url}")
    return Server(simulator.url, simulator.api_key, simulator.api_secret)


def _deployed(
    options: Options, server: Server, display: Display, resources: ExitStack
) -> tuple[Emulator, Stack]:
    STATE.mkdir(exist_ok=True)
    folder = Path(
        resources.enter_context(
            tempfile.TemporaryDirectory(prefix="run-", dir=STATE, ignore_cleanup_errors=True)
        )
    )
    emulator = resources.enter_context(Emulator(folder, wait_scale=options.wait_scale))
    display.say(f"the emulator listens on {emulator.url}")
    stack = deploy(emulator, folder, vonage_base_url=server.url, wait_scale=options.wait_scale)
    stack.set_credentials(server.api_key, server.api_secret)
    if options.definitions is not None:
        stack.set_definitions(options.definitions)
    display.say("template.yaml is deployed")
    return emulator, stack


def _out_folder(kept: KeptState | None) -> Path:
    """Make `out/` empty, or for a server that bills a link to what was bought there."""
    if OUT.is_symlink():
        OUT.unlink()
    elif OUT.exists():
        shutil.rmtree(OUT)
    if kept is None:
        return OUT
    kept.out.mkdir(parents=True, exist_ok=True)
    OUT.symlink_to(kept.out.relative_to(OUT.parent))
    return kept.out


def _confirmed(lines: list[str], server: Server, options: Options, display: Display) -> bool:
    """Show what is going to be asked for, and let a person decide. Raises BadInput."""
    display.print(f"{server.url} bills every record that a report contains. This run")
    for line in lines or ["asks for nothing that is known beforehand"]:
        display.print(f"  {line}")
    if options.confirmed:
        return True
    answer = display.typed_yes()
    if answer is None:
        raise BadInput("nobody is there to confirm this: set CONFIRM=yes")
    return answer


def _follow(
    wakes: Wakes,
    progress: Progress,
    delivery: Delivery,
    display: Display,
    keep: Callable[[], None],
) -> None:
    """Return when nothing more can be expected without a person."""
    while True:
        wakes.tick()
        delivery.update()
        if wakes.answer is not None:
            progress.follow(wakes.answer["planned"])
        display.show(progress.update())
        keep()
        if wakes.answer is not None and (progress.is_settled or progress.refused_credentials()):
            return
        time.sleep(_TICK_SECONDS)


def _conclude(
    answer: Mapping[str, Any], progress: Progress, delivery: Delivery, display: Display
) -> int:
    """Print what came of it, and return the exit code."""
    lines = progress.lines
    if lines:
        display.print("\n" + summary(lines, delivery))
        display.print(f"Look in {OUT.name}/; what was announced: {OUT.name}/{NOTIFICATIONS}")
    else:
        display.print("Nothing is due.")
    refused = [
        f"{each['definition']}, {each['field']}: {each['reason']}"
        for each in answer.get("refused", [])
    ]
    troubles = [line.trouble for line in lines if line.trouble is not None]
    for trouble in dict.fromkeys([*refused, *troubles]):
        display.complain(trouble)
    if refused or progress.refused_credentials():
        return BAD_INPUT
    return ALL_DELIVERED if all(line.is_delivered for line in lines) else NOT_DELIVERED


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
