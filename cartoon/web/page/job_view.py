"""The HTML of the page's job view and of "Your jobs"; every name in it is a stranger's text, and escaped."""

import html
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

from cartoon.jobs.model import Attempt
from cartoon.jobs.service.status import JobStatus
from cartoon.web.messages import tally, without_paths
from cartoon.web.thumbnails import version

PICTURES: Final = 60
"""So many of the latest are shown; the zip has all."""
FAILURES: Final = 100
STATE_WORDS: Final = {"waiting": "waiting", "running": "drawing", "finished": "done"}

Outcomes = Sequence[Attempt]


def progress_bar(text: str, share: float) -> str:
    """The sentence over a bar filled to `share` (0..1)."""
    return (
        f'<div class="toon-progress" role="status"><span>{html.escape(text)}</span>'
        f'<div class="toon-track"><div class="toon-bar" style="width:{100 * share:.1f}%"></div></div></div>'
    )


def gallery(id: str, latest: Outcomes, drawn: int) -> str:
    """The latest pictures, the last one first, of all that were drawn; each opens in full."""
    shown = "".join(_figure(id, attempt) for attempt in latest)
    more = f"<p>The latest {len(latest)} of {drawn}; the zip has them all.</p>" if drawn > len(latest) else ""
    return f'<div class="toon-pictures">{shown}</div>{more}' if latest else ""


def failure_table(id: str, failures: Outcomes) -> str:
    """One row per photo that could not be drawn; empty when all could."""
    failed = [(attempt.item.name, str(attempt.error)) for attempt in failures]
    if not failed:
        return ""
    rows = "".join(_row(name, html.escape(without_paths(why))) for name, why in failed[:FAILURES])
    if len(failed) > FAILURES:
        link = f'<a href="{address(id, "report.csv")}">in the report</a>'
        rows += f'<tr><td colspan="2">and {len(failed) - FAILURES} more {link}</td></tr>'
    head = "<thead><tr><th>Not drawn</th><th>Why</th></tr></thead>"
    return f'<table class="toon-table toon-failures">{head}<tbody>{rows}</tbody></table>'


def zip_link(status: JobStatus) -> str:
    """A link to the zip, as soon as there is something in it."""
    done = status.counts.done
    if not done:
        return ""
    pictures = f"{done} picture{'' if done == 1 else 's'}{' so far' if status.counts.remaining else ''}"
    zipped = f'<a class="toon-button" href="{address(status.id, "zip")}" download>Download zip ({pictures})</a>'
    return f'{zipped}<a href="{address(status.id, "report.csv")}" download>Report</a>'


def history(statuses: Sequence[JobStatus], shown: str) -> str:
    """A table of jobs, each with a link that opens it; shown: the one that is open."""
    if not statuses:
        return '<p class="toon-quiet">Nothing yet. What you start here is listed for some days after it is done.</p>'
    rows = "".join(_job_row(status, status.id == shown) for status in statuses)
    head = "<thead><tr><th>Started</th><th>Photos</th><th>State</th><th></th></tr></thead>"
    return f'<table class="toon-table toon-jobs">{head}<tbody>{rows}</tbody></table>'


def address(id: str, rest: str) -> str:
    """Of something of a job, relative to the page, which may lie below another site's root."""
    return f"api/v1/jobs/{id}/{rest}"


def _figure(id: str, attempt: Attempt) -> str:
    number = attempt.entry.number
    name, mark = html.escape(attempt.item.name), f"?v={version(attempt)}"
    flaws = html.escape(", ".join(attempt.flaws))
    doubt = f'<b title="{flaws}">to look at</b>' if attempt.flaws else ""
    thumb, full = address(id, f"thumbs/{number}{mark}"), address(id, f"pictures/{number}{mark}")
    picture = f'<img src="{thumb}" alt="{name}" loading="lazy">'
    return (
        f'<figure{" class=toon-doubt" if doubt else ""}><a href="{full}" target="_blank" rel="noopener">{picture}</a>'
        f"<figcaption>{doubt}<span>{name}</span></figcaption></figure>"
    )


def _job_row(status: JobStatus, open_now: bool) -> str:
    order = status.order
    made = datetime.fromtimestamp(order.made, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    state = STATE_WORDS.get(status.state, status.state)
    link = "<b>open</b>" if open_now else f'<a href="?job={status.id}">open</a>'
    photos = f"{html.escape(order.title)}<small>{html.escape(order.options.style)} · {tally(status)}</small>"
    progress = f" {status.counts.settled}/{status.counts.total}" if status.counts.remaining else ""
    return f"<tr><td>{made}</td><td>{photos}</td><td>{state}{progress}</td><td>{link}</td></tr>"


def _row(name: str, why: str) -> str:
    return f"<tr><td>{html.escape(name)}</td><td>{why}</td></tr>"
