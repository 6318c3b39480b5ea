"""The folders of a run: `.local/` for one run at a time, and `out/` for its results."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vonage_reports_cli.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".local"
OUT = ROOT / "out"

_MOST_BYTES = 1024
"""How many bytes a key may have in S3."""

_MOST_BYTES_OF_NAME = 255
"""How many bytes a name may have in the usual file systems."""

_SHOWN_CHARACTERS = 100


@contextmanager
def lock(state: Path) -> Iterator[None]:
    """Lock `state` against a second run, which could buy the same windows again.

    Also delete the temporary folders of killed runs. Raises BadInput.
    """
    require_writable(state)
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput(
                "another make run is using this folder: wait until it ends, or stop it"
            ) from error
        for leftover in state.glob("run-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def require_writable(folder: Path) -> None:
    """Create the folder if necessary, and check that it is writable. Raises BadInput."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise not_writable(folder, error) from error


def file_of(folder: Path, key: str) -> Path:
    """Return the file in `folder` that mirrors a key of the bucket. Each key has its own file.

    Raises BadInput for a key that leaves the folder, or that a file system cannot hold. Links
    inside the folder are followed, because only the operator can have created them.
    """
    names = key.split("/")
    # An empty name comes from a leading, doubled or trailing slash.
    if {"", ".", ".."}.isdisjoint(names) and "\0" not in key and _is_short(key, names):
        return folder / key
    raise BadInput(
        f"the key {key[:_SHOWN_CHARACTERS]!r} names no file inside {folder}; check the ids that "
        "the server sends"
    )


def _is_short(key: str, names: Iterable[str]) -> bool:
    try:
        longest = max(len(name.encode()) for name in names)
    except UnicodeEncodeError:
        # The key has a lone surrogate, which UTF-8 cannot encode.
        return False
    return longest <= _MOST_BYTES_OF_NAME and len(key.encode()) <= _MOST_BYTES


def not_writable(path: Path, error: OSError) -> BadInput:
    """Return the sentence about a file or folder that cannot be written."""
    return BadInput(f"cannot write {path}: {error.strerror}")
