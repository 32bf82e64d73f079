"""What the page says about jobs: sentences for every state, and HTML in which no stranger's name is markup."""

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from cartoon.errors import UnsupportedError
from cartoon.jobs.forecast import duration
from cartoon.jobs.model import Attempt, Counts, Entry, Item, Order, State
from cartoon.jobs.service.status import JobStatus
from cartoon.options import Options
from cartoon.web.messages import at_rest, machine_line, sentence, zip_name
from cartoon.web.page import job_view

ID = "a" * 32
NASTY = "<img src=x onerror=alert(1)>.jpg"
ORDER = Order(ID, (), Path("/data/jobs") / ID / "results", Options(), "", "1", 0.0, title="Zoë.jpg")


def status(
    state: State, counts: Counts, rate: float | None = None, left: float | None = None, why: str = ""
) -> JobStatus:
    return JobStatus(ID, ORDER, state, counts, rate, left, why, 1)


def drawn(number: int, name: str = "a.jpg", flaws: tuple[str, ...] = ()) -> Attempt:
    entry = Entry(number, Item(Path("x"), PurePosixPath(name)), PurePosixPath("a.png"))
    return Attempt(entry, output=Path("a.png"), sha256="f" * 64, flaws=flaws)


def failed(number: int, name: str) -> Attempt:
    error = UnsupportedError(f"{name} is not a picture.")
    return Attempt(Entry(number, Item(Path("x"), PurePosixPath(name)), PurePosixPath("a.png")), "failed", error=error)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (status("waiting", Counts(60)), "Waiting to draw 60 of 60 photos"),
        (status("running", Counts(60, done=33)), "Drawing 34/60"),
        (status("running", Counts(60, done=33), 5.12, 5.6), "Drawing 34/60, 5.1 a second, about 6 s left"),
        (status("running", Counts(9000, done=10), 0.2, 9000), "Drawing 11/9000, 12 a minute, about 2.5 h left"),
        (status("paused", Counts(9, done=3)), "Paused at 3/9: go on whenever you like"),
        (
            status("paused", Counts(9, done=3), why="The disk is full: free some."),
            "Paused at 3/9: The disk is full: free some",
        ),
        (status("finished", Counts(60, done=58, failed=1, quarantined=1)), "Done: 58 drawn, 2 could not be"),
        (status("finished", Counts(2, done=2, flagged=1)), "Done: 2 drawn, 1 to look at"),
        (status("cancelled", Counts(9, done=3)), "Cancelled: 3 drawn"),
    ],
)
def test_a_sentence_says_where_a_job_stands(now: JobStatus, told: str) -> None:
    assert sentence(now) == told


def test_a_reason_names_no_place_on_the_disk() -> None:
    why = f"Another process works on this job in {ORDER.out}: wait until it has ended."
    assert sentence(status("paused", Counts(9), why=why)).endswith(
        "Another process works on this job in the job's folder: wait until it has ended"
    )


def test_durations_are_told_in_seconds_minutes_and_hours() -> None:
    assert [duration(seconds) for seconds in (0.01, 14.2, 600, 7200)] == ["1 s", "14 s", "10 min", "2.0 h"]


def test_a_job_is_at_rest_when_nothing_of_it_is_under_way() -> None:
    paused = status("paused", Counts(9))
    assert at_rest(paused)
    assert not at_rest(replace(paused, busy=True))
    assert not at_rest(status("running", Counts(9)))


def test_the_machine_in_a_line() -> None:
    assert machine_line("cpu", "fp32", 0, 0) == "cpu, fp32 · no job running"
    assert machine_line("cuda:0", "bf16", 2, 1) == "cuda:0, bf16 · 2 jobs running · 1 photo waiting"


def test_a_zip_is_called_after_the_jobs_title() -> None:
    assert zip_name(status("finished", Counts(1))) == "Zoë-anime.zip"
    for title, name in (("", "cartoons-anime.zip"), ("../a/b", "_a_b-anime.zip"), ("...", "cartoons-anime.zip")):
        assert zip_name(replace(status("finished", Counts(1)), order=replace(ORDER, title=title))) == name


def test_a_strangers_name_is_never_markup() -> None:
    job = replace(status("finished", Counts(1, done=1)), order=replace(ORDER, title=NASTY))
    for shown in (
        job_view.gallery(ID, [drawn(0, NASTY)], 1),
        job_view.gallery(ID, [drawn(0, '" onload="alert(1)')], 1),
        job_view.failure_table(ID, [failed(0, NASTY)]),
        job_view.history([job], ""),
        job_view.progress_bar(NASTY, 0.5),
    ):
        assert "<img src=x" not in shown
        assert '" onload' not in shown


def test_the_latest_pictures_come_first_and_doubtful_ones_are_marked() -> None:
    shown = job_view.gallery(ID, [drawn(n, flaws=("pale",) if n == 69 else ()) for n in range(69, 9, -1)], 70)
    assert shown.count("<img ") == job_view.PICTURES
    assert shown.index("thumbs/69?v=") < shown.index("thumbs/68?v=")
    assert "thumbs/9?" not in shown
    assert shown.count("to look at") == 1
    assert "The latest 60 of 70" in shown
    assert "The latest" not in job_view.gallery(ID, [drawn(0)], 1)
    assert job_view.gallery(ID, [], 0) == ""


def test_of_many_failures_the_first_hundred_are_told() -> None:
    shown = job_view.failure_table(ID, [failed(n, f"{n}.jpg") for n in range(130)])
    assert shown.count("is not a picture") == job_view.FAILURES
    assert f'and 30 more <a href="api/v1/jobs/{ID}/report.csv">in the report</a>' in shown
    assert job_view.failure_table(ID, []) == ""


def test_the_zip_can_be_had_before_the_end() -> None:
    assert job_view.zip_link(status("running", Counts(9))) == ""
    assert "Download zip (3 pictures so far)" in job_view.zip_link(status("running", Counts(9, done=3)))
    assert "Download zip (1 picture)" in job_view.zip_link(status("finished", Counts(1, done=1)))
