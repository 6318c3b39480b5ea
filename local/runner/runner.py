"""The main job, on this machine.

Starts the emulator and, unless another server is named, the Vonage simulator; deploys the template;
sends the event that the schedule would send, and the sweeps after it; shows how far the reports
are; and leaves what was delivered under `out/`.
"""

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import ConnectionError as NoConnection
from botocore.exceptions import HTTPClientError

from local.output.costs import cost_table, costs_of
from local.output.delivery import NOTIFICATIONS, Delivery
from local.output.display import Display, merged, summary
from local.output.page import NAME as PAGE
from local.output.page import write_page
from local.runner import folders
from local.runner.confirmation import outlook_of, plan_of
from local.runner.folders import OUT, STATE
from local.runner.options import BadInput, Options, Server
from local.runner.progress import Progress
from local.runner.saved_state import SavedState
from local.simulator.process import Simulator
from local.stack.deployment import DeploymentFailed, InvocationFailed, Stack, deploy
from local.stack.emulator import Emulator, EmulatorFailed
from local.stack.environment import forget_real_accounts
from local.stack.scheduler import Scheduler, send, sweep_seconds
from local.status.problems import why_stopped
from local.status.sources import LastRun
from vonage_reports.aws.ledger import Ledger

ALL_DELIVERED, NOT_DELIVERED, BAD_INPUT = 0, 1, 2

_TICK_SECONDS = 0.2
"""The pace at which a person sees the ledger move, where that does not take longer."""

_STATUS_SECONDS = 2.0
"""The pace at which `make status` sees it move."""

_REQUEST_SECONDS = 40
"""Longer than a request to Vonage can last."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run() -> int:
    """Run, and return the exit code. Raises KeyboardInterrupt, when everything is stopped."""
    forget_real_accounts()
    display = Display()
    try:
        options = Options.from_environment(os.environ, now=datetime.now(UTC))
        with ExitStack() as resources:
            return _run(options, display, resources)
    except (BadInput, EmulatorFailed, DeploymentFailed, InvocationFailed) as error:
        display.complain(str(error))
    except (NoConnection, HTTPClientError) as error:
        display.complain(f"the emulator does not answer any more: {error}")
    return BAD_INPUT


def _run(options: Options, display: Display, resources: ExitStack) -> int:
    """Deploy, send the event, follow it to its end; `resources` stops what was started."""
    resources.enter_context(folders.work_alone(STATE))
    folders.require_replaceable(OUT)
    kept = _saved_state(options.server)
    server = options.server or _simulator(display, resources)
    emulator, stack = _deployed(options, server, display, resources)
    delivery = Delivery(emulator, stack, OUT if kept is None else kept.out)
    if kept is not None:
        kept.restore(emulator, stack, delivery, options.event)
    ledger = Ledger(emulator.table(stack.outputs["TableName"]))
    event = options.event
    if event is None:
        event = stack.schedule_event(
            "SubmitReportsFunctionCalendar", scheduled_time=options.scheduled_time
        )
    if options.is_dry_run:
        for line in outlook_of(send(event, stack, say=display.say)):
            display.print(f"It would ask for {line}")
        return ALL_DELIVERED
    if not server.is_on_loopback:
        lines = plan_of(event, stack, ledger, api_key=server.api_key, now=datetime.now(UTC))
        if not _confirmed(lines, server, options, display):
            display.print("Nothing was asked of Vonage.")
            return BAD_INPUT

    progress = Progress(ledger, delivery)
    every = sweep_seconds(options.wait_scale)
    scheduler = Scheduler(stack, event, sweep_seconds=every, say=display.say)
    records = _Records(
        stack=stack,
        delivery=delivery,
        scheduler=scheduler,
        progress=progress,
        kept=kept,
        last_run=LastRun(STATE),
        source=f"the last make run, against {server.url}",
    )
    try:
        with display.live():
            _until_answered(scheduler, progress, display, records)
            folders.replace(OUT, None if kept is None else kept.out)
            _follow(scheduler, progress, delivery, display, records)
    finally:
        # A second Ctrl-C waits until what was paid for is written down.
        with _uninterrupted():
            if kept is not None:
                scheduler.finish(_REQUEST_SECONDS)
            scheduler.stop()
            if emulator.is_running():
                # Without an answer `out/` is still that of an earlier run.
                if kept is not None or scheduler.answer is not None:
                    delivery.update()
                progress.update()
                progress.complete()
                records.keep(at_last=True)
    return _conclude(options, scheduler.answer or {}, progress, delivery, display)


def _saved_state(server: Server | None) -> SavedState | None:
    if server is None or server.is_on_loopback:
        return None
    kept = SavedState(STATE / server.name)
    kept.require_usable()
    return kept


def _simulator(display: Display, resources: ExitStack) -> Server:
    simulator = resources.enter_context(Simulator())
    display.say(f"the Vonage simulator listens on {simulator.url}")
    return Server(simulator.url, simulator.api_key, simulator.api_secret)


def _deployed(
    options: Options, server: Server, display: Display, resources: ExitStack
) -> tuple[Emulator, Stack]:
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


@dataclass
class _Records:
    """What is written down while a run goes on: for `make status`, and what was paid for."""

    stack: Stack
    delivery: Delivery
    scheduler: Scheduler
    progress: Progress
    kept: SavedState | None
    last_run: LastRun
    source: str
    next_status: float = 0.0

    def keep(self, *, at_last: bool = False) -> None:
        """Write down how things stand; for `make status` now and then, and `at_last`.

        As long as the event has planned nothing, an earlier run is the last one.
        """
        has_begun = self.scheduler.answer is not None or bool(self.progress.lines)
        is_status_due = has_begun and (at_last or time.monotonic() >= self.next_status)
        if self.kept is None and not is_status_due:
            return
        items = self.stack.ledger_items()
        if self.kept is not None:
            self.kept.save(items, self.delivery)
        if is_status_due:
            self.last_run.write(
                items,
                source=self.source,
                definitions=self.stack.definitions(),
                as_of=datetime.now(UTC),
            )
            self.next_status = time.monotonic() + _STATUS_SECONDS


def _until_answered(
    scheduler: Scheduler, progress: Progress, display: Display, records: _Records
) -> None:
    """Return when submit_reports took the event."""
    scheduler.tick()
    while scheduler.answer is None:
        with _unhurried():
            display.show(progress.update(), progress)
            records.keep()
        scheduler.tick()
    progress.follow(scheduler.answer["planned"])


def _follow(
    scheduler: Scheduler,
    progress: Progress,
    delivery: Delivery,
    display: Display,
    records: _Records,
) -> None:
    """Return when nothing more can be expected without a person."""
    while True:
        with _unhurried():
            delivery.update()
            display.show(progress.update(), progress)
            records.keep()
            # While submit_reports is at work, what was refused may be tried again.
            if scheduler.is_idle and (progress.is_settled or progress.everything_is_refused):
                return
        scheduler.tick()


@contextmanager
def _unhurried() -> Iterator[None]:
    """Look at what there is, then leave the machine to the stack for as long at least."""
    began = time.monotonic()
    yield
    # Whoever looks all the time takes the processor from what is looked at.
    time.sleep(max(_TICK_SECONDS, time.monotonic() - began))


def _conclude(
    options: Options,
    answer: Mapping[str, Any],
    progress: Progress,
    delivery: Delivery,
    display: Display,
) -> int:
    """Print what came of it, and return the exit code."""
    lines = progress.lines
    refused = [
        f"{each['definition']}, {each['field']}: {each['reason']}"
        for each in answer.get("refused", [])
    ]
    refused += [why_stopped(each, at=datetime.now(UTC)) for each in progress.stopped]
    for bar in progress.bars:
        display.print(f"{bar.name}: {bar.words}")
    if lines:
        write_page(delivery.folder)
        display.print("\n" + summary(lines, delivery))
        costs = cost_table(costs_of(delivery.dataset_files()))
        if costs:
            display.print(costs + "\n")
        display.print(
            f"Look in {OUT.name}/; charts: {OUT.name}/{PAGE}; "
            f"what was announced: {OUT.name}/{NOTIFICATIONS}"
        )
    elif not refused and not progress.bars:
        no_definitions = options.definitions == "[]"
        display.print("There are no report definitions." if no_definitions else "Nothing is due.")
    for sentence in merged(refused, progress.troubles(), rest=f"{OUT.name}/{NOTIFICATIONS}"):
        display.complain(sentence)
    if refused or progress.everything_is_refused or progress.stopped:
        return BAD_INPUT
    return ALL_DELIVERED if all(line.is_well for line in progress.windows) else NOT_DELIVERED


@contextmanager
def _uninterrupted() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
