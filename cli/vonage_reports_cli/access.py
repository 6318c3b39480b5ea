"""AWS's refusals and broken connections, in sentences that an operator can act on."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    InvalidRegionError,
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


_EXPIRED = frozenset({
    "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
})  # fmt: skip

_OVERLOADED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
    "RequestThrottled", "RequestThrottledException", "RequestLimitExceeded", "SlowDown",
    "ProvisionedThroughputExceededException", "PriorRequestNotComplete", "BandwidthLimitExceeded",
    "LimitExceededException",
})  # fmt: skip
_SERVER_ERROR = 500


def explained(error: Exception) -> CommandError | None:
    """Return an error of AWS's SDK as the end of a command, or None for any other error."""
    # botocore writes some errors with a full stop before a comma.
    said = str(error).replace(".,", ",").rstrip(".")
    found: CommandError | None = None
    match error:
        case NoCredentialsError() | PartialCredentialsError() | SSOError():
            found = NoAccess(f"AWS credentials: {said}. Log in, or name a profile with --profile.")
        case InvalidRegionError():
            found = BadInput(f"--region takes an AWS region such as eu-west-1: {said}")
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
    if code in _EXPIRED:
        return NoAccess(f"AWS refuses {text.rstrip('.')}. Log in again.")
    if code in _DENIED:
        return NoAccess(f"AWS refuses {text}")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _OVERLOADED or status >= _SERVER_ERROR:
        return NoAccess(f"AWS answered {code} to {text.rstrip('.')}. Try again in a minute.")
    return CommandError(f"AWS answered {code} to {text}")
