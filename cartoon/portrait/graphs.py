"""MediaPipe's graphs, imported late and made quietly. Their models are inside the wheel: nothing is downloaded."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cartoon.errors import ResourceError

_log: Final = logging.getLogger(__name__)

INSTALL: Final = "install what requirements.txt lists (mediapipe==0.10.21 is the last release with its models inside)"


def solutions() -> Any:
    """The module `mediapipe.solutions`, imported at the first call (about a second).

    Raises ResourceError, naming what to install, when it or a system library it needs is missing.
    """
    try:
        with warnings.catch_warnings():
            # protobuf 4, which mediapipe needs, warns on Python 3.12; as an error that would break the import.
            warnings.simplefilter("ignore", DeprecationWarning)
            import mediapipe
    except ImportError as missing:  # also a missing libGL.so.1 or libEGL.so.1
        raise ResourceError(
            f"Faces cannot be found because mediapipe does not load ({missing}): {INSTALL}."
        ) from missing
    if not hasattr(mediapipe, "solutions"):
        raise ResourceError(
            f"Faces cannot be found: mediapipe {mediapipe.__version__} has no models inside: {INSTALL}."
        )
    return mediapipe.solutions


@contextmanager
def quiet() -> Iterator[None]:
    """Send what MediaPipe's C++ side prints while its graphs start to the debug log.

    It writes straight to file descriptor 2 and its own log-level switches do not reach these lines, so the descriptor
    itself is turned aside; for the whole process, hence only around the making of graphs, a fraction of a second.
    """
    with tempfile.TemporaryFile() as aside:
        try:
            sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError, AttributeError):  # no standard error at all: nothing to turn aside
            yield
            return
        try:
            os.dup2(aside.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            aside.seek(0)
            for line in aside.read().decode("utf-8", "replace").splitlines():
                _log.debug("mediapipe: %s", line)
