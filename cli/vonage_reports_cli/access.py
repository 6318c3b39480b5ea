"""AWS's refusals and broken connections, in sentences that an operator can act on."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
)
from botocore.exceptions import ConnectionError as NoConnection

from vonage_reports_cli.errors import BadInput, CommandError, NoAccess

_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError",
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "InvalidAccessKeyId",
    "SignatureDoesNotMatch", "InvalidSignatureException", "UnrecognizedClientException",
    "AuthFailure", "RequestExpired", "TokenRefreshRequired", "403", "Forbidden",
})  # fmt: skip


def explained(error: Exception) -> CommandError | None:
    """Return an error of AWS's SDK as the end of a command, or None for any other error."""
    said = str(error).rstrip(".")
    found: CommandError | None = None
    match error:
        case NoCredentialsError() | PartialCredentialsError() | SSOError():
            found = NoAccess(f"AWS credentials: {said}. Log in, or name a profile with --profile.")
        case NoRegionError():
            found = BadInput("name an AWS region with --region or AWS_DEFAULT_REGION")
        case ProfileNotFound():
            found = BadInput(f"{said}. --profile takes a profile of your AWS configuration.")
        case NoConnection() | HTTPClientError():
            found = NoAccess(f"AWS cannot be reached: {said}")
        case ClientError():
            found = _refusal(error)
        case BotoCoreError():
            found = CommandError(f"the AWS SDK: {said}")
    return found


def _refusal(error: ClientError) -> CommandError:
    answer = error.response.get("Error", {})
    code = answer.get("Code", "")
    text = f"{error.operation_name}: {answer.get('Message', code)}"
    if code in _DENIED:
        return NoAccess(f"AWS refuses {text}")
    return CommandError(f"AWS answered {code} to {text}")
