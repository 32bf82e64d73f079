"""Every error this package raises on purpose.

    CartoonError
    +-- OptionsError        an option is out of range or unknown (the caller's request is wrong)
    +-- InputError          the picture cannot be used; trying again does not help
    |   +-- UnreadableError     empty, truncated or damaged
    |   +-- UnsupportedError    not a picture, or a kind of picture that is not read
    |   +-- TooLargeError       more pixels or bytes than is safe to decode
    |   +-- DamagedError        a job's own files are not what was written: what is drawn stays, nothing more is
    +-- StyleError          unknown style, checksum mismatch, weights that do not fit
    +-- ResourceError       out of memory, lost device: worth another try
    |   +-- StorageError        the disk is full or the output folder is gone: the whole job waits until it is mended
    |   +-- OutputError         a result cannot be put in place: trying again does not help
    |   +-- WorkerLostError     the process that drew it died
    |   +-- BusyError           another process works on this job
    |   +-- DrainingError       this process is about to stop and begins nothing new
    |   +-- LimitError          a visitor has, or asks for, as much as one may
    +-- MissingError        there is no such job
    +-- ForbiddenError      it is there, and somebody else's
    +-- QualityError        what was drawn, also with every fallback, is not fit to deliver
    +-- QuarantineError     the photo crashed its worker time and again; it is not tried any more

Each message is one sentence that names the file (where there is one) and says what to do next.
`code` is stable and machine-readable: REST sends it, the CLI's --json prints it.
"""

from typing import ClassVar


class CartoonError(Exception):
    """Base of all deliberate errors; `str(error)` is a sentence fit for a person."""

    code: ClassVar[str] = "error"


class OptionsError(CartoonError):
    """An option is unknown or out of its range."""

    code = "bad_options"


class InputError(CartoonError):
    """The picture cannot be used; never retried."""

    code = "bad_input"


class UnreadableError(InputError):
    """The picture is empty, truncated or damaged."""

    code = "unreadable"


class UnsupportedError(InputError):
    """The file is not a picture, or not of a kind that is read."""

    code = "unsupported"


class TooLargeError(InputError):
    """The picture has more pixels or bytes than is safe to decode."""

    code = "too_large"


class DamagedError(InputError):
    """A job's files are not what was written; what is drawn can be fetched, nothing further is drawn."""

    code = "damaged"


class StyleError(CartoonError):
    """The style is unknown, or its weights are missing, altered or do not fit; never retried."""

    code = "bad_style"


class ResourceError(CartoonError):
    """Memory, disk or device ran out; another try may succeed."""

    code = "no_resources"


class StorageError(ResourceError):
    """The disk is full, or the output folder is gone; what is under way stops until that is mended."""

    code = "storage"


class OutputError(ResourceError):
    """A result cannot be put in place: no permission, a folder of that name; never retried."""

    code = "not_written"


class WorkerLostError(ResourceError):
    """The process that drew the photo died."""

    code = "worker_lost"


class BusyError(ResourceError):
    """Another process works on the same job."""

    code = "busy"


class DrainingError(ResourceError):
    """The process is about to stop; another one, or the same one later, takes the request."""

    code = "draining"


class LimitError(ResourceError):
    """A visitor has, or asks for, as much as the settings give to one; the sentence names the limit."""

    code = "limit"


class MissingError(CartoonError):
    """There is no such job, or it is somebody else's."""

    code = "not_found"


class ForbiddenError(CartoonError):
    """It is there, but whoever asks may not do that."""

    code = "forbidden"


class QualityError(CartoonError):
    """The drawing failed the quality gate, also with every fallback."""

    code = "poor_quality"


class QuarantineError(CartoonError):
    """The photo crashed its worker time and again."""

    code = "quarantined"


def restored(code: str, message: str) -> CartoonError:
    """The error that a journal or another process told by its code and sentence."""
    kinds: list[type[CartoonError]] = [CartoonError]
    for kind in kinds:
        if kind.code == code:
            return kind(message)
        kinds.extend(kind.__subclasses__())
    return CartoonError(message)
