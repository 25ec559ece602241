"""How S3 is reached: places, the client, and what its errors mean to people.

Credentials, region and endpoint are those of every AWS tool (`AWS_PROFILE`, `AWS_ENDPOINT_URL`,
`~/.aws/config`).
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from model.errors import FlyobjError, InputError, missing_library

SCHEME = "s3://"
# As S3 names them, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; a HEAD request
# is answered with a bare number.
_DENIED = ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken")
MISSING = ("404", "NoSuchKey")
CHANGED = ("412", "PreconditionFailed")
CONNECT_S, READ_S = 10, 30


@dataclass(frozen=True)
class Place:
    """Where an object is."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, url: str) -> "Place":
        """Read `s3://BUCKET/KEY`; the key may be empty."""
        bucket, _, key = url.removeprefix(SCHEME).partition("/")
        if not url.startswith(SCHEME) or not bucket:
            raise InputError(f"{url!r} isn't a place in S3; give s3://BUCKET/KEY")
        return cls(bucket, key)

    def __str__(self) -> str:
        """As users write it."""
        return f"{SCHEME}{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last part of the key: the file's name in a model store."""
        return self.key.rpartition("/")[2]

    def require_archive(self) -> "Place":
        """Return the place if it can be an archive's."""
        if not self.name.endswith(".mar") or self.name.startswith("."):
            raise InputError(f"{str(self)!r} names no archive; give s3://BUCKET/PREFIX/NAME.mar")
        return self


@contextmanager
def connect(place: Place, what: str) -> Iterator[Any]:
    """Reach S3 with boto3's client, to `what` ("read", "write") at `place`.

    Raises:
        InputError: the user's settings are wrong, or S3 doesn't let us.
        FlyobjError: S3 can't be reached or failed.
    """
    try:
        import boto3
        from botocore import exceptions as aws
    except ImportError as error:
        raise missing_library("s3://", "boto3", error) from error
    try:
        with closing(_client(boto3)) as client:
            yield client
    except (aws.NoCredentialsError, aws.PartialCredentialsError, aws.ProfileNotFound) as error:
        raise InputError(
            f"AWS credentials: {error}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except aws.ParamValidationError as error:
        raise InputError(f"can't {what} {str(place)!r}: {str(error).splitlines()[-1]}") from error
    except aws.ClientError as error:
        raise _explain_refusal(error, place, what) from error
    except aws.BotoCoreError as error:
        raise FlyobjError(f"can't {what} {str(place)!r}: {error}") from error


def code_of(error: Any) -> str:
    """Read the code of boto3's `ClientError`."""
    return str(error.response["Error"].get("Code", ""))


def _client(boto3: Any) -> Any:
    from botocore.config import Config

    # A network that is cut says nothing: with boto3's own minute for each of five tries, six minutes.
    timeouts = Config(connect_timeout=CONNECT_S, read_timeout=READ_S)
    try:
        # One of its own: the shared one keeps old credentials.
        return boto3.Session().client("s3", config=timeouts)
    except ValueError as error:
        raise InputError(f"AWS settings: {error}; check AWS_ENDPOINT_URL") from error


def _explain_refusal(error: Any, place: Place, what: str) -> FlyobjError:
    code, message = code_of(error), error.response["Error"].get("Message", "")
    if code in _DENIED:
        return InputError(
            f"S3 doesn't let us {what} {str(place)!r} ({code}); check the credentials, and that their "
            "policy allows s3:GetObject, s3:PutObject and s3:ListBucket there"
        )
    if code in ("NoSuchBucket", "404"):
        return InputError(f"bucket {place.bucket!r} doesn't exist; check its name and region")
    if code in CHANGED:
        return FlyobjError(f"{str(place)!r} was changed while it was downloaded; run it again")
    return FlyobjError(f"S3 couldn't {what} {str(place)!r}: {code} {message}")
