"""The AWS emulator (MiniStack), in its own process on a free port of 127.0.0.1.

This module holds all settings of MiniStack. To use another emulator, replace the class `Emulator`.

The emulator enforces the IAM roles of the deployed template (AUTH), so a missing permission fails
the run. The emulator uses TLS, because the bucket's policy refuses plain HTTP.
"""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3
import trustme
from botocore.config import Config

from local.stack.environment import CREDENTIALS, REGION, child_environment

ROOT = Path(__file__).resolve().parents[2]
_KEEP_ALIVE_SECONDS = 3600
_START_SECONDS = 60
_ANSWER_SECONDS = 60
_LONGEST_INVOCATION_SECONDS = 900
_SHOWN_CHARACTERS = 2000


class EmulatorFailed(RuntimeError):
    """The emulator did not start. The message holds the end of its log."""


class Emulator:
    """A context manager around one emulator process.

    `folder` gets the certificate, the log and the temporary files. `wait_scale` multiplies every
    wait and retry delay of the workflow.
    """

    def __init__(self, folder: Path, *, wait_scale: float = 1.0) -> None:
        self._folder = folder
        self._wait_scale = wait_scale
        self._process: subprocess.Popen[bytes] | None = None
        # Any, because boto3's stubs know each service only by its literal name.
        self._session: Any = boto3.Session(
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            region_name=REGION,
        )
        self.url = ""
        self.ca_bundle = folder / "ca.pem"
        self.log = folder / "emulator.log"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_certificate()
        # The emulator inherits this socket, so no other process can take the port. The first
        # request waits in the socket's queue until the emulator answers.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            self.url = f"https://127.0.0.1:{port}"
            self._process = self._start(listener, port)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients have no static type
        """Return a client of the emulator's root user, never of the operator's own profile."""
        seconds = _LONGEST_INVOCATION_SECONDS if service == "lambda" else _ANSWER_SECONDS
        return self._session.client(service, **self._connection(seconds))

    def table(self, name: str) -> Any:  # noqa: ANN401 - boto3's resources have no static type
        """Return a DynamoDB table as a boto3 resource."""
        return self._session.resource("dynamodb", **self._connection(_ANSWER_SECONDS)).Table(name)

    @property
    def pid(self) -> int:
        """The id of the process and of its group, which includes the functions' processes."""
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Kill the emulator and every function process that it started. Safe to call twice.

        SIGKILL loses nothing: the emulator keeps no state on disk.
        """
        if self._process is None:
            return
        # The functions' processes stay in the group, even if the emulator died before them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _connection(self, answer_seconds: int) -> dict[str, Any]:
        # Only one attempt, because a retried invocation would run a function twice.
        once = Config(read_timeout=answer_seconds, retries={"total_max_attempts": 1}, proxies={})
        return {"endpoint_url": self.url, "verify": str(self.ca_bundle), "config": once}

    def _make_certificate(self) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_bundle)
        server = authority.issue_cert("127.0.0.1", "localhost", f"*.lambda-url.{REGION}.on.aws")
        server.private_key_and_cert_chain_pem.write_to_path(self._folder / "server.pem")

    def _start(self, listener: socket.socket, port: int) -> subprocess.Popen[bytes]:
        certificate = str(self._folder / "server.pem")
        temporary = self._folder / "tmp"
        temporary.mkdir(exist_ok=True)
        environment = child_environment(
            {
                "AUTH": "true",
                "USE_SSL": "1",
                "MINISTACK_SSL_CERT": certificate,
                "MINISTACK_SSL_KEY": certificate,
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_HOST": "127.0.0.1",
                "MINISTACK_REGION": REGION,
                "SFN_WAIT_SCALE": str(self._wait_scale),
                "STATE_DIR": str(self._folder / "state"),
                "S3_DATA_DIR": str(self._folder / "s3"),
                "TMPDIR": str(temporary),
                "IOT_MTLS_ENABLED": "0",  # the listener would bind every interface
                "SFTP_ENABLED": "0",
                "LAMBDA_EXECUTOR": "local",
                "DOCKER_HOST": f"unix://{self._folder}/no-docker",  # never use a real Docker
                "LOG_LEVEL": "WARNING",
                "PYTHONPATH": str(ROOT),
                "TZ": "UTC",  # as in Lambda
            }
        )
        command = [
            sys.executable,
            "-m",
            "local.stack.watchdog",
            "hypercorn",
            "local.stack.emulator_app:app",
        ]
        # The clients send a request once. It would be lost if the server closed the idle connection
        # at that moment.
        connections = ["--keep-alive", str(_KEEP_ALIVE_SECONDS)]
        options = ["--bind", f"fd://{listener.fileno()}", "--workers", "0", *connections]
        tls = ["--certfile", certificate, "--keyfile", certificate]
        with self.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - runs our own interpreter with a fixed module
                [*command, *options, *tls],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        trusted = ssl.create_default_context(cafile=str(self.ca_bundle))
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)
        )
        try:
            with direct.open(f"{self.url}/_ministack/health", timeout=_START_SECONDS):
                return
        except OSError as error:
            end_of_log = self.log.read_text(errors="replace")[-_SHOWN_CHARACTERS:]
            raise EmulatorFailed(f"the emulator did not start: {error}\n{end_of_log}") from error
