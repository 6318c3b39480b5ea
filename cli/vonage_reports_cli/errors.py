"""The ends of a command: exit codes, and the errors that lead to them."""

from enum import IntEnum


class Exit(IntEnum):
    """The exit codes. click has no name for them."""

    DONE = 0
    ATTENTION = 1
    """Something asks for a person: a report failed, a window is missing, a check found a fault."""
    BAD_INPUT = 2
    DECLINED = 3
    """The operator answered no."""
    NO_ACCESS = 4
    """AWS or Vonage refuses the credentials, or cannot be reached."""
    INTERRUPTED = 130


class CommandError(Exception):
    """The end of a command. The message is one sentence on standard error."""

    code = Exit.ATTENTION


class BadInput(CommandError, ValueError):
    """Input that the operator must correct. The message is one line."""

    code = Exit.BAD_INPUT


class Declined(CommandError):
    """The operator answered no. Nothing was changed."""

    code = Exit.DECLINED


class NoAccess(CommandError):
    """AWS or Vonage refuses access, or cannot be reached."""

    code = Exit.NO_ACCESS


class Attention(CommandError):
    """The command ended, and something asks for a person."""

    code = Exit.ATTENTION
