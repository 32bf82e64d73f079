"""A job's results as one zip that is made while it is sent: nothing in memory, nothing on disk twice."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from zipstream import ZipStream

from cartoon.jobs import report
from cartoon.jobs.service.jobs import JobService
from cartoon.web.thumbnails import lies_there

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/zip"


@dataclass(frozen=True, eq=False)
class Packed:
    """A zip that is about to be sent. size: its length in bytes, known beforehand. pictures: how many it holds."""

    size: int
    pictures: int
    stream: ZipStream

    def chunks(self) -> Iterator[bytes]:
        """The zip's bytes, once. A picture that vanishes meanwhile ends them too early, which the client notices."""
        try:
            yield from self.stream
        except (OSError, RuntimeError) as problem:
            log.warning("a zip was cut off: %s", type(problem).__name__, extra={"event": "zip_cut_off"})
            raise


def packed(service: JobService, id: str) -> Packed:
    """What is done of a job so far, stored (pictures are packed already), with its report; MissingError."""
    stream = ZipStream(sized=True)
    told = service.rows(id)
    pictures = 0
    for attempt in service.settled(id):
        # Missing or altered ones would break the length that is announced below; the next start draws them again.
        if attempt.output is None or not lies_there(attempt.output):
            continue
        stream.add_path(attempt.output, str(attempt.entry.output), recurse=False)
        pictures += 1
    for name, data in zip(report.NAMES, (report.as_csv(told), report.as_json(told)), strict=True):
        stream.add(data, name)
    return Packed(len(stream), pictures, stream)
