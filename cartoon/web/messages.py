"""What the web doors say about a drawing or a job: plain sentences."""

import re
from typing import Final

from cartoon.jobs.forecast import duration
from cartoon.jobs.service.status import JobStatus
from cartoon.pipeline.one_file import Drawing

WORTH_SECONDS: Final = 0.005
"""A step that took less is left out of the line: it would read 0.00."""
_JOB_FOLDER: Final = re.compile(r"(?:[A-Za-z]:)?[\\/](?:[^\s\\/]+[\\/])*[0-9a-f]{32}(?:[\\/]\w+)?")


def describe(drawing: Drawing) -> str:
    """One line for a person: seconds per step, sizes, faces, what was enlarged, and the notes."""
    height, width = drawing.photo.pixels.shape[:2]
    new_height, new_width = drawing.cartoon.pixels.shape[:2]
    faces = len(drawing.cartoon.faces)
    steps = [f"{step} {seconds:.2f}" for step, seconds in drawing.seconds.items() if seconds >= WORTH_SECONDS]
    parts = [
        f"{width} × {height} px → {new_width} × {new_height} px",
        "1 face found" if faces == 1 else f"{faces or 'no'} faces found",
        f"{sum(drawing.seconds.values()):.2f} s ({', '.join(steps)})",
    ]
    notes = (*drawing.photo.notes, *drawing.cartoon.notes)
    effective = drawing.cartoon.effective_size
    if effective < max(new_height, new_width) and not any("enlarged" in note for note in notes):
        parts.append(f"drawn at {effective} px and enlarged")
    return " · ".join((*parts, *notes))


def at_rest(status: JobStatus) -> bool:
    """Whether nothing about a job changes until somebody says so."""
    return status.state not in ("waiting", "running") and not status.busy


def sentence(status: JobStatus) -> str:
    """Where a job stands: "Drawing 5/12, 1.2 a second, about 6 s left", "Done: 12 drawn, 1 could not be"."""
    counts = status.counts
    if status.state == "waiting":
        return f"Waiting to draw {counts.remaining} of {_photos(counts.total)}"
    if status.state == "running":
        parts = [f"Drawing {min(counts.settled + 1, counts.total)}/{counts.total}"]
        if status.rate:
            parts.append(_pace(status.rate))
        if status.seconds_left is not None:
            parts.append(f"about {duration(status.seconds_left)} left")
        return ", ".join(parts)
    if status.state == "paused":
        why = without_paths(status.reason).rstrip(".") or "go on whenever you like"
        return f"Paused at {counts.settled}/{counts.total}: {why}"
    if status.state == "damaged":
        return f"{without_paths(status.reason)} So far: {tally(status)}."
    return f"{'Done' if status.state == 'finished' else 'Cancelled'}: {tally(status)}"


def tally(status: JobStatus) -> str:
    """What came of a job so far: "58 drawn, 2 could not be, 1 to look at"."""
    counts = status.counts
    lost, told = counts.failed + counts.quarantined, [f"{counts.done} drawn"]
    if lost:
        told.append(f"{lost} could not be")
    if counts.flagged:
        told.append(f"{counts.flagged} to look at")
    return ", ".join(told)


def machine_line(device: str, precision: str, running: int, left: int) -> str:
    """What the machine is and does: "cpu, fp32 · 1 job running · 34 photos waiting"."""
    jobs = "no job running" if not running else f"{running} job{'s' if running > 1 else ''} running"
    return " · ".join((f"{device}, {precision}", jobs, *([f"{_photos(left)} waiting"] if left else [])))


def zip_name(status: JobStatus) -> str:
    """What a person finds in the downloads folder."""
    stem = re.sub(r'[\\/:*?"<>|]', "_", re.sub(r"\.\w{1,5}$", "", status.order.title)).strip(". ")
    return f"{stem or 'cartoons'}-{status.order.options.style}.zip"


def without_paths(text: str) -> str:
    """A sentence fit for strangers: where a job lies on the server's disk is nobody's business."""
    return _JOB_FOLDER.sub("the job's folder", text)


def _pace(rate: float) -> str:
    return f"{rate:.1f} a second" if rate >= 1 else f"{max(1, round(60 * rate))} a minute"


def _photos(number: int) -> str:
    return f"{number} photo{'' if number == 1 else 's'}"
