"""The errors that users meet.

    FlyobjError                     the work failed; exit code 1
     x GeneratorFailed              loadtest.capacity.generator
     x FleetApplyFailed             serving.fleet.apply
     x ServerError                  serving.server.client
     x NoAnswer                     serving.server.connection
     x WorkersBusy                  serving.rollout.quiesce
     + Interrupted                  the user stopped it; 130
     + InputError                   what the user gave is wrong; 2
        + PhotoError                one photo; has the status of an answer over HTTP
           + UnreadableImage        400
           + PhotoTooLarge          413
              + PhotoTooCostly      413
                 + PhotoTooSlow     413
                    + TooBusy       413, for now
           + UnsupportedFormat      415
           + RequestError           400
              + EmptyRequest        400
              + TooManyPhotos       413
              + UnsupportedBody     415
              x DuplicateField      400, handler.errors
              x WrongJson           422, handler.errors
              x WrongOption         422, handler.errors
              x WrongEncoding       400, deploy.aws_lambda.events

x: lives where it is raised. A message names the value, what is allowed and the remedy. The command line
turns these into exit codes (`cli.main`); what answers photos turns a `PhotoError` into an HTTP status;
nothing else does.
"""

from collections.abc import Mapping
from typing import ClassVar


class FlyobjError(Exception):
    """The work failed through no fault of the input. Exit code 1."""

    exit_code = 1


class InputError(FlyobjError):
    """What the user gave is wrong. Exit code 2."""

    exit_code = 2


def missing_library(what: str, library: str, error: ImportError) -> InputError:
    """Make the error of something that needs a library which can't be imported here.

    It names the library itself: this package is in no index, so an extra of its name would be anybody's.
    """
    return InputError(f"{what} needs {library} ({error}): pip install {library}")


class Interrupted(FlyobjError):
    """The user has stopped the work, which can be resumed. Exit code 130, as shells have it."""

    exit_code = 130


class PhotoError(InputError):
    """One photo can't be answered. `status` is the HTTP status of the answer."""

    status = 400
    phrase = "Bad Request"
    headers: ClassVar[Mapping[str, str]] = {}  # of the answer


class UnreadableImage(PhotoError):
    """The photo is damaged or not complete. HTTP 400."""


class PhotoTooLarge(PhotoError):
    """The photo is over a limit on bytes, pixels or sides. HTTP 413."""

    status = 413
    phrase = "Payload Too Large"


class PhotoTooCostly(PhotoTooLarge):
    """Decoding the photo takes more time or memory than it may. HTTP 413."""


class PhotoTooSlow(PhotoTooCostly):
    """Decoding the photo takes more CPU time than it may. HTTP 413."""


class TooBusy(PhotoTooSlow):
    """The photo costs more than there is for it now, beside others. HTTP 413, for now."""

    # Which is for a 413, too, if it may pass: RFC 9110, section 15.5.14.
    headers: ClassVar[Mapping[str, str]] = {"Retry-After": "1"}


class UnsupportedFormat(PhotoError):
    """The bytes are no photo in a supported format. HTTP 415."""

    status = 415
    phrase = "Unsupported Media Type"


class RequestError(PhotoError):
    """A request, or one of its photos, isn't sent in a way that can be read. HTTP 400."""


class EmptyRequest(RequestError):
    """No photo in the request. HTTP 400."""


class TooManyPhotos(RequestError):
    """More photos than one request may hold. HTTP 413."""

    status = 413
    phrase = "Payload Too Large"


class UnsupportedBody(RequestError):
    """A body that can't be turned back into what was sent. HTTP 415."""

    status = 415
    phrase = "Unsupported Media Type"
