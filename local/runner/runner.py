"""The steps of one run.

Start the emulator and, unless the operator names another server, the Vonage simulator. Deploy the
template. Send the event that the schedule would send, then the sweeps. Show the progress, and leave
the results under `out/`.
"""

import errno
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
from local.output.display import Display
from local.output.table import merge_sentences, result, summary
from local.output.usage_page import write_usage_page
from local.runner import folders
from local.runner.confirmation import describe_dry_run, plan_of
from local.runner.folders import OUT, ROOT, STATE
from local.runner.options import Options, Server
from local.runner.progress import Progress
from local.runner.results import Results
from local.runner.saved_state import SavedState
from local.simulator.process import Simulator
from local.stack.deployment import DeploymentFailed, InvocationFailed, Stack, deploy
from local.stack.emulator import Emulator, EmulatorFailed
from local.stack.environment import forget_real_accounts
from local.stack.scheduler import Scheduler, send, sweep_seconds
from vonage_reports.aws.ledger import Ledger
from vonage_reports.domain.printable import printable
from vonage_reports_cli.errors import BadInput
from vonage_reports_cli.last_run import DeliveringRun, LastRunTarget
from vonage_reports_cli.page import NAME as PAGE
from vonage_reports_cli.status.problems import why_stopped
from vonage_reports_cli.status.sources import LastRun

ALL_DELIVERED, NOT_DELIVERED, BAD_INPUT = 0, 1, 2

_TICK_SECONDS = 0.2
"""The shortest pause between two updates of the display."""

_STATUS_SECONDS = 2.0
"""The shortest pause between two updates of the ledger for `vonage-reports --local`."""

_REQUEST_SECONDS = 40
"""How long to wait for the last invocation: longer than any request to Vonage."""

_REPORTS_A_DAY = 24
"""The simulated requests of an account before the run, which REPORTS-USAGE lists."""

_CANNOT_WRITE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG}
)
"""Errors that the operator has to solve: a full disk, a quota, a read-only folder."""

_NEXT = ".venv/bin/vonage-reports --local status"

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run() -> int:
    """Run, and return the exit code. Raises KeyboardInterrupt after stopping every process."""
    forget_real_accounts()
    display = Display()
    try:
        options = Options.from_environment(os.environ, now=datetime.now(UTC))
        with ExitStack() as resources:
            return _run(options, display, resources)
    except (BadInput, EmulatorFailed, DeploymentFailed, InvocationFailed) as error:
        display.error(str(error))
    except (NoConnection, HTTPClientError) as error:
        display.error(f"the emulator stopped answering; run make run again: {error}")
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        # Only opening a file names it. A full disk is found later.
        display.error(f"cannot write {error.filename or f'below {ROOT}'}: {error.strerror}")
    return BAD_INPUT


def _run(options: Options, display: Display, resources: ExitStack) -> int:
    """Deploy, send the event, follow the reports. `resources` stops every started process."""
    resources.enter_context(folders.lock(STATE))
    saved_state = _saved_state(options.server)
    results = Results(OUT, STATE, None if saved_state is None else saved_state.out)
    results.require_replaceable()
    results.begin()
    server = options.server or _simulator(display, resources)
    emulator, stack = _deployed(options, server, display, resources)
    delivery = Delivery(emulator, stack, results.folder, announce=results.announce)
    if saved_state is not None:
        saved_state.restore(emulator, stack, delivery, options.event)
    if options.definitions is not None or saved_state is not None:
        # The saved ledger may be of runs with other definitions, which the operator replaces.
        stack.set_definitions(options.definitions or stack.definitions())
    ledger = Ledger(emulator.table(stack.outputs["TableName"]))
    event = options.event
    if event is None:
        event = stack.schedule_event(
            "SubmitReportsFunctionCalendarSchedule", scheduled_time=options.scheduled_time
        )
    if options.is_dry_run:
        answer = send(event, stack, say=display.say)
        display.print(f"This event would request {printable(describe_dry_run(answer))}")
        return ALL_DELIVERED
    if not server.is_on_loopback:
        lines = plan_of(event, stack, ledger, api_key=server.api_key, now=datetime.now(UTC))
        if not _confirmed(lines, server, options, display):
            display.print("Nothing was requested from Vonage.")
            return BAD_INPUT

    progress = Progress(ledger, delivery)
    every = sweep_seconds(options.wait_scale)
    scheduler = Scheduler(stack, event, sweep_seconds=every, say=display.say)
    writer = _StateWriter(
        stack=stack,
        delivery=delivery,
        results=results,
        scheduler=scheduler,
        progress=progress,
        saved_state=saved_state,
        last_run=LastRun(STATE),
        run=DeliveringRun(f"the last make run, against {server.url}", options.server is None),
    )
    try:
        with display.live():
            _until_answered(scheduler, progress, display, writer)
            _follow(scheduler, progress, display, writer)
    finally:
        # A second Ctrl-C must not keep this run from saving the paid reports.
        with _ignoring_signals():
            if saved_state is not None:
                scheduler.finish(_REQUEST_SECONDS)
            scheduler.stop()
            if emulator.is_running():
                try:
                    writer.copy()
                finally:
                    # The record of paid reports, even if the disk is too full for the reports.
                    progress.update()
                    progress.complete()
                    writer.write(final=True)
    if progress.lines:
        results.conclude(delivery, writer.run)
    return _conclude(
        options, scheduler.answer or {}, progress, delivery, results=results, display=display
    )


def _saved_state(server: Server | None) -> SavedState | None:
    if server is None or server.is_on_loopback:
        return None
    saved_state = SavedState(STATE / server.name)
    saved_state.require_usable()
    return saved_state


def _simulator(display: Display, resources: ExitStack) -> Server:
    # An account requests some reports a day, and sends thousands of messages.
    reports = {"REPORTS-USAGE": _REPORTS_A_DAY}
    simulator = resources.enter_context(Simulator(rows_per_day_by_product=reports))
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
    display.say("template.yaml is deployed")
    return emulator, stack


def _confirmed(lines: list[str], server: Server, options: Options, display: Display) -> bool:
    """Show the plan, and return whether the operator confirms it. Raises BadInput."""
    display.print(f"{server.url} bills every record of every report. This run will:")
    for line in lines or ["request no reports, as far as is known in advance"]:
        display.print(f"  {printable(line)}")
    if options.confirmed:
        return True
    answer = display.ask_to_continue()
    if answer is None:
        raise BadInput("the plan needs a confirmation, but there is no terminal: set CONFIRM=yes")
    return answer


@dataclass
class _StateWriter:
    """Writes a run to disk: its results, for `vonage-reports --local`, and for the next run."""

    stack: Stack
    delivery: Delivery
    results: Results
    scheduler: Scheduler
    progress: Progress
    saved_state: SavedState | None
    last_run: LastRun
    run: DeliveringRun
    next_status: float = 0.0

    def copy(self) -> None:
        """Copy the new objects. With the first delivery, they replace an earlier run's."""
        self.delivery.update()
        self.results.take(self.delivery, self.run)

    def write(self, *, final: bool = False) -> None:
        """Save the state, and every few seconds the ledger for `vonage-reports --local`.

        If `final` is true, write that ledger in any case. Until the event is answered or a report
        is open, the program shows the previous run.
        """
        has_begun = self.scheduler.answer is not None or bool(self.progress.lines)
        is_status_due = has_begun and (final or time.monotonic() >= self.next_status)
        if self.saved_state is None and not is_status_due:
            return
        items = self.stack.ledger_items()
        if self.saved_state is not None:
            self.saved_state.save(items, self.delivery)
        if is_status_due:
            self.last_run.write(
                items,
                source=self.run.source,
                is_simulated=self.run.is_simulated,
                definitions=self.stack.definitions(),
                as_of=datetime.now(UTC),
            )
            self.next_status = time.monotonic() + _STATUS_SECONDS


def _until_answered(
    scheduler: Scheduler, progress: Progress, display: Display, writer: _StateWriter
) -> None:
    """Wait until submit_reports has answered the event."""
    scheduler.tick()
    while scheduler.answer is None:
        with _paced():
            display.show(progress.update(), progress)
            writer.write()
        scheduler.tick()
    progress.follow(scheduler.answer["planned"])


def _follow(
    scheduler: Scheduler, progress: Progress, display: Display, writer: _StateWriter
) -> None:
    """Wait until every report has ended, or waits for the operator, and for one sweep after that.

    That sweep announces the periods that are complete.
    """
    sweeps = None
    while True:
        with _paced():
            writer.copy()
            display.show(progress.update(), progress)
            writer.write()
            # A running invocation of submit_reports may retry the refused reports.
            if scheduler.is_idle and progress.everything_is_refused:
                return
            if not progress.is_settled:
                sweeps = None
            elif scheduler.is_idle and sweeps is None:
                sweeps = scheduler.sweeps
                scheduler.sweep_now()
            elif scheduler.is_idle and sweeps is not None and scheduler.sweeps > sweeps:
                return
        scheduler.tick()


@contextmanager
def _paced() -> Iterator[None]:
    """Run the block, then sleep at least as long as the block took."""
    began = time.monotonic()
    yield
    # Reading without a pause would take the processor away from the stack.
    time.sleep(max(_TICK_SECONDS, time.monotonic() - began))


def _conclude(
    options: Options,
    answer: Mapping[str, Any],
    progress: Progress,
    delivery: Delivery,
    *,
    results: Results,
    display: Display,
) -> int:
    """Print the problems and the result, and return the exit code."""
    lines = progress.lines
    refused = [
        f"{each['definition']}, {each['field']}: {each['reason']}"
        for each in answer.get("refused", [])
    ]
    refused += [why_stopped(each, at=datetime.now(UTC)) for each in progress.stopped]
    for bar in progress.progress_bars:
        display.print(f"{bar.name}: {bar.words}")
    if lines:
        display.print("\n" + summary(lines, delivery, with_keys=options.shows_keys))
        costs = cost_table(costs_of(delivery.dataset_files()))
        if costs:
            display.print(costs + "\n")
    elif not refused and not progress.progress_bars:
        display.print("Nothing is due.")
    folder = OUT.name if results.are_taken else delivery.folder.relative_to(ROOT)
    for sentence in merge_sentences(
        [*refused, *delivery.refusals], progress.troubles(), rest=f"{folder}/{NOTIFICATIONS}"
    ):
        display.error(sentence)
    if lines:
        has_page = results.are_taken and write_usage_page(LastRunTarget(ROOT))
        display.print(result(progress.windows, display.seconds))
        if not results.are_taken:
            display.print(f"Nothing was delivered: {OUT.name}/ still has an earlier run's results.")
        page = f", charts: {folder}/{PAGE}" if has_page else ""
        display.print(f"Results: {folder}/{page}, notifications: {folder}/{NOTIFICATIONS}")
        display.print(f"Next: {_NEXT}")
    if refused or progress.everything_is_refused or progress.stopped:
        return BAD_INPUT
    is_well = not delivery.refusals and all(line.is_well for line in progress.windows)
    return ALL_DELIVERED if is_well else NOT_DELIVERED


@contextmanager
def _ignoring_signals() -> Iterator[None]:
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
