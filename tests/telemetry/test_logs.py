"""Log lines: readable by machines, few about clients, and never with the name of somebody's file."""

import io
import json
import logging
import sys
from pathlib import Path

from cartoon.telemetry.logs import JsonLines, Seldom, TextLines


def test_a_json_line_holds_the_message_and_the_fields_it_may() -> None:
    log = logging.getLogger("cartoon.test")
    told = {"event": "photo_done", "style": "anime", "seconds": 0.5, "secret": "anna.png"}
    try:
        raise ValueError("broken")
    except ValueError:
        raised = sys.exc_info()
    record = log.makeRecord(log.name, logging.INFO, "", 0, "drawn in\n%d", (2,), raised, extra=told)
    record.created = 1_800_000_000.25
    line = JsonLines().format(record)
    assert "\n" not in line
    shown = json.loads(line)
    assert "ValueError: broken" in shown.pop("traceback")
    assert shown == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "INFO",
        "logger": "cartoon.test",
        "message": "drawn in\n2",
        "event": "photo_done",
        "style": "anime",
        "seconds": 0.5,
    }


def test_the_same_words_about_clients_are_written_only_so_often() -> None:
    now = [0.0]
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(Seldom(most=3, clock=lambda: now[0]))
    handler.setFormatter(TextLines("%(message)s"))
    logger = logging.getLogger("uvicorn.test")
    logger.addHandler(handler)
    logger.propagate = False
    for _ in range(100):
        logger.warning("Invalid HTTP request received.")
    assert len(out.getvalue().splitlines()) == 3
    assert "left out" in out.getvalue()
    now[0] = 61.0
    logger.warning("Invalid HTTP request received.")
    assert len(out.getvalue().splitlines()) == 4
    logger.removeHandler(handler)


def test_a_traceback_names_no_file_of_a_person() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(TextLines("%(message)s"))
    logger = logging.getLogger("cartoon.test")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        try:
            Path("/nowhere/holiday-of-ann.jpg").read_bytes()
        except OSError as problem:
            raise RuntimeError(
                "cannot draw 'holiday-of-ann.jpg' at /home/holiday-of-ann.jpg, holiday-of-ann.jpg"
            ) from problem
    except RuntimeError:
        logger.exception("failed")
    logger.removeHandler(handler)
    assert "holiday-of-ann.jpg" not in "".join(
        line for line in out.getvalue().splitlines() if not line.startswith("    ")
    )
    assert "FileNotFoundError: No such file or directory" in out.getvalue()
    assert "RuntimeError: cannot draw ..." in out.getvalue()
