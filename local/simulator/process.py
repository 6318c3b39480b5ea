"""Run the simulator as a separate process and call its control endpoint."""

import json
import select
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_REPOSITORY = Path(__file__).resolve().parents[2]
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_CONTROL_SECONDS = 30.0


class Simulator:
    """A running simulator. It stops at the end of the `with` block, or when this process dies.

    `settings` are the fields of `settings.Settings`. `seconds_behind`: how far its clock is behind
    this machine's at the start.

    Raises:
        RuntimeError: The simulator did not start.
    """

    def __init__(
        self,
        *,
        api_key: str = "abcd1234",
        api_secret: str = "s3cr3t-of-the-simulator",  # noqa: S107 - opens nothing but the simulator
        accounts: tuple[str, ...] = (),
        port: int = 0,
        seconds_behind: float = 0.0,
        **settings: object,
    ) -> None:
        self.api_key = api_key
        self.api_secret = api_secret
        command = [
            sys.executable, "-m", "local.simulator",
            "--port", str(port),
            "--api-key", api_key,
            "--api-secret", api_secret,
            "--settings", json.dumps(settings),
            "--seconds-behind", str(seconds_behind),
            "--until-stdin-closes",
        ]  # fmt: skip
        if accounts:
            command += ["--accounts", ",".join(accounts)]
        self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            command,
            cwd=_REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Ctrl-C reaches only the parent, which may still need to read the bill.
            process_group=0,
        )
        try:
            self.url: str = self._announced_url()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def state(self) -> dict[str, Any]:
        """Return the state: reports, gauge, bill, requests, violations and pending faults."""
        state: dict[str, Any] = self._control("GET", "state")
        return state

    def numbers(self) -> list[dict[str, str]]:
        """Return the fictional number ranges of its records."""
        numbers: list[dict[str, str]] = self._control("GET", "numbers")
        return numbers

    def fault(self, operation: str, fault: str, **parameters: object) -> None:
        """Add a fault. It hits the next matching request, unless `times` says otherwise."""
        self._control("POST", "faults", {"operation": operation, "fault": fault, **parameters})

    def clear_faults(self) -> None:
        """Remove all pending faults."""
        self._control("DELETE", "faults")

    def jobs(
        self, count: int, seconds: float, request: dict[str, object] | None = None
    ) -> list[str]:
        """Create reports of another tool, which take `seconds` each. Return their ids."""
        document = {"count": count, "seconds": seconds, "request": request or {}}
        ids: list[str] = self._control("POST", "jobs", document)["request_ids"]
        return ids

    def settings(self, **settings: object) -> None:
        """Change settings for future reports."""
        self._control("POST", "settings", settings)

    def advance(self, seconds: float) -> None:
        """Advance the simulator's clock."""
        self._control("POST", "clock", {"advance_seconds": seconds})

    def reset(self) -> None:
        """Discard all reports, faults and counters, and restore the initial settings."""
        self._control("POST", "reset")

    def stop(self) -> None:
        """Stop the process and wait until it has exited."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _announced_url(self) -> str:
        output = self._process.stdout
        assert output is not None
        ready, _, _ = select.select([output], [], [], _START_SECONDS)
        line = output.readline() if ready else b""
        if not line:
            raise RuntimeError(
                "the simulator did not start: it exited (see the message above) or took longer "
                f"than {_START_SECONDS:g} s"
            )
        return str(json.loads(line)["url"])

    def _control(self, method: str, path: str, document: object = None) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(  # noqa: S310 - the URL is the simulator's own
            f"{self.url}/control/{path}",
            method=method,
            data=None if document is None else json.dumps(document).encode(),
        )
        with urllib.request.urlopen(request, timeout=_CONTROL_SECONDS) as response:  # noqa: S310 - the URL is the simulator's own
            return json.load(response)
