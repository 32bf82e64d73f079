"""Every error this package raises on purpose.

    CartoonError
    +-- OptionsError        an option is out of range or unknown (the caller's request is wrong)
    +-- InputError          the picture cannot be used; trying again does not help
    |   +-- UnreadableError     empty, truncated or damaged
    |   +-- UnsupportedError    not a picture, or a kind of picture that is not read
    |   +-- TooLargeError       more pixels or bytes than is safe to decode
    +-- StyleError          unknown style, checksum mismatch, weights that do not fit
    +-- ResourceError       out of memory, disk full, lost device: worth another try

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


class StyleError(CartoonError):
    """The style is unknown, or its weights are missing, altered or do not fit; never retried."""

    code = "bad_style"


class ResourceError(CartoonError):
    """Memory, disk or device ran out; another try may succeed."""

    code = "no_resources"
