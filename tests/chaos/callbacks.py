"""Vonage's calls when reports end, with their faults, and calls of strangers."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any
from urllib.parse import urlsplit

from local.simulator.faults import Fault
from local.simulator.simulation import Simulation
from tests.chaos.virtual_time import VirtualTime

URL = "https://x1y2.lambda-url.eu-west-1.on.aws/"
TABLE = "callbacks"

FAULTS: tuple[dict[str, Any], ...] = (
    {"calls": 0},
    {"calls": 3},
    {"seconds": 30},
    {"seconds": 3600},
    # The run has ended, or waits until Vonage gives the report up.
    {"seconds": 40 * 3600, "calls": 3},
    # Before the run waits.
    {"early": True},
    {"early": True, "seconds": 30, "calls": 3},
)


class Callbacks:
    """Calls of the function's URL, one at a time. A call during another one is lost, as on Lambda.

    `call` gets the path of each call, and a function to call at the end of the invocation.
    """

    def __init__(
        self,
        simulation: Simulation,
        virtual_time: VirtualTime,
        random: Random,
        call: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._simulation = simulation
        self._virtual_time = virtual_time
        self._random = random
        self._call = call
        self._is_busy = False
        self.paths: list[str] = []
        """The paths that Vonage got, in the order of the POSTs."""
        self.throttled = 0

    def fault(self) -> Fault | None:
        """Draw the fault of a POST's callback."""
        if self._random.random() < 0.5:
            return None
        return Fault("create", "callback", parameters=self._random.choice(FAULTS))

    def created(self) -> None:
        """Schedule the callbacks of the newest report."""
        reports = list(self._simulation.world.reports.values())
        if not reports or not reports[-1].calls or self._path(reports[-1]) in self.paths:
            return
        self.paths.append(self._path(reports[-1]))
        at = reports[-1].calls_at()
        if at is not None:
            wait = max(0.0, at - self._simulation.world.clock.elapsed())
            self._virtual_time.after(wait + 0.001, self._due)

    def stranger(self) -> None:
        """Call a path that does not exist, or one that Vonage got."""
        forged = f"{self._random.getrandbits(128):032x}"
        known = self.paths and self._random.random() < 0.7
        # The runs of the last paths may still wait.
        self.made(self._random.choice(self.paths[-5:]) if known else forged)

    def made(self, path: str) -> None:
        """Make a call."""
        if self._is_busy:
            self.throttled += 1
            return
        self._is_busy = True
        self._call(path, self._over)

    def _over(self) -> None:
        self._is_busy = False

    def _due(self) -> None:
        for number, callback in enumerate(self._simulation.take_callbacks()):
            path = urlsplit(callback.url).path.removeprefix("/")
            self._virtual_time.after(number * 0.5, partial(self.made, path))

    def _path(self, report: Any) -> str:
        return urlsplit(str(report.request.sent["callback_url"])).path.removeprefix("/")
