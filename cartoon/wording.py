"""What the web doors say about a drawing or a run: plain sentences, and the small HTML the page shows."""

import html
from typing import Final

from cartoon.batch import Failure, Progress
from cartoon.request import Drawing

WORTH_SECONDS: Final = 0.005
"""A step that took less is left out of the line: it would read 0.00."""


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


def sentence(progress: Progress) -> str:
    """Where a run stands: "Preparing 3/12", "Drawing 5/12, about 14 s left", "Done: 12 drawn, 1 could not be"."""
    drawn, failed = len(progress.pictures), len(progress.failures)
    current = f"{min(progress.done + 1, progress.total)}/{progress.total}"
    if progress.stage == "preparing":
        return f"Preparing {current}"
    if progress.stage == "drawing":
        left = "" if progress.seconds_left is None else f", about {_duration(progress.seconds_left)} left"
        return f"Drawing {current}{left}" if progress.done < progress.total else "Packing the zip"
    start = "Cancelled" if progress.stage == "cancelled" else "Done"
    return f"{start}: {drawn} drawn" + (f", {failed} could not be" if failed else "")


def _duration(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 90 else f"{round(whole / 60)} min"


def progress_bar(text: str, share: float) -> str:
    """HTML: the sentence over a bar filled to `share` (0..1)."""
    return (
        f'<div class="toon-progress" role="status"><span>{html.escape(text)}</span>'
        f'<div class="toon-track"><div class="toon-bar" style="width:{100 * share:.1f}%"></div></div></div>'
    )


def failure_table(failures: tuple[Failure, ...]) -> str:
    """HTML: one row per photo that could not be drawn; empty when all could."""
    if not failures:
        return ""
    rows = "".join(f"<tr><td>{html.escape(f.name)}</td><td>{html.escape(f.message)}</td></tr>" for f in failures)
    head = "<thead><tr><th>Not drawn</th><th>Why</th></tr></thead>"
    return f'<table class="toon-failures">{head}<tbody>{rows}</tbody></table>'
