"""Serve the simulator until SIGTERM or SIGINT: `python -m local.simulator`.

Print one line of JSON as soon as the port is open: {"url": "http://127.0.0.1:<port>"}.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import NoReturn

from .clock import Clock
from .server import HOST, Server
from .settings import Settings
from .simulation import Account, Simulation

_STDIN = 0
_LAST_PORT = 65535
_POLL_SECONDS = 0.02  # the server's longest delay before it notices a shutdown
# The longest delay of an answering thread by a rendering thread. Python's default is 5 ms.
_SWITCH_SECONDS = 0.0005


def main() -> None:
    """Parse the command line and serve."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    arguments = _parser().parse_args()
    account = Account(
        api_key=arguments.api_key, api_secret=arguments.api_secret, others=arguments.accounts
    )
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.until_stdin_closes:
        Thread(target=_wait_for_end_of_input, args=(stop.set,), daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="vonage-simulator-") as folder:
        behind = timedelta(seconds=arguments.seconds_behind)
        simulation = Simulation(
            account,
            _settings(arguments),
            Path(folder),
            new_clock=lambda: Clock(started_at=datetime.now(UTC) - behind),
        )
        with _listening(simulation, arguments.port) as server:
            Thread(target=server.serve_forever, args=(_POLL_SECONDS,), daemon=True).start()
            print(json.dumps({"url": server.url}), flush=True)
            stop.wait()
            server.stopping.set()
            server.shutdown()
        simulation.close()


def _listening(simulation: Simulation, port: int) -> Server:
    try:
        return Server(simulation, port)
    except OSError as error:
        _refuse(f"cannot listen on {HOST}:{port}: {error.strerror}; choose another --port")


def _refuse(sentence: str) -> NoReturn:
    print(f"simulator: {sentence}", file=sys.stderr)
    sys.exit(2)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(text)
    return port


def _settings(arguments: argparse.Namespace) -> Settings:
    changes = dict(arguments.settings)
    for name in ("seed", "rows_per_day", "seconds_per_report", "rows_per_second"):
        if (value := getattr(arguments, name)) is not None:
            changes[name] = value
    try:
        return Settings().changed(changes)
    except ValueError as error:
        _refuse(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local.simulator", description=__doc__)
    parser.add_argument("--port", type=_port, default=0, help="default: any free port")
    parser.add_argument("--api-key", default="abcd1234")
    parser.add_argument("--api-secret", default="s3cr3t-of-the-simulator")
    parser.add_argument(
        "--accounts",
        type=lambda text: tuple(text.split(",")),
        default=(),
        help="more accounts, such as sub-accounts, separated by commas",
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--rows-per-day", type=int, help="per product, account and direction")
    parser.add_argument("--seconds-per-report", type=float, help="from the POST to SUCCESS")
    parser.add_argument("--rows-per-second", type=float, help="0 means no limit")
    parser.add_argument("--settings", type=json.loads, default={}, help="settings as a JSON object")
    parser.add_argument(
        "--seconds-behind", type=float, default=0.0, help="start the clock in the past"
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop when the parent closes the pipe"
    )
    return parser


def _wait_for_end_of_input(ended: Callable[[], None]) -> None:
    # Not sys.stdin, because this daemon thread would hold its lock when the interpreter exits.
    while os.read(_STDIN, 4096):
        pass
    ended()


if __name__ == "__main__":
    main()
