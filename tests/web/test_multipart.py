"""The one reader of forms: files on disk as they come, refusals in words, and nothing left behind, however it ends."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from cartoon.errors import CartoonError, OptionsError, TooLargeError
from cartoon.settings import Settings
from cartoon.web.multipart import BATCH_BYTES, FIELD_BYTES, HEADER_BYTES, MOST_FIELDS, FormRules, receive
from cartoon.web.staging import StagedUpload
from tests.waiting import PATIENCE, soon, wait_for

FORM = "multipart/form-data; boundary=b"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + data + b"\r\n"


def request(chunks: Iterator[bytes] | list[bytes], ends: bool = True, leaves: bool = False) -> Request:
    """One whose body comes in these chunks; then it is whole, or its client leaves, or (ends: False) says no more."""
    bodies = iter(chunks)

    async def receiving() -> Message:
        for body in bodies:
            return {"type": "http.request", "body": body, "more_body": True}
        if leaves:
            return {"type": "http.disconnect"}
        if not ends:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": b"", "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", FORM.encode())]}, receiving)


@pytest.fixture
def staged(tmp_path: Path) -> StagedUpload:
    return StagedUpload(tmp_path / "incoming", Settings(max_upload_mb=1, max_job_mb=2))


def left(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "incoming").glob("*"))


def received(staged: StagedUpload, *chunks: bytes, **rules: Any) -> dict[str, str]:
    async def receiving() -> dict[str, str]:
        return await receive(request(list(chunks)), staged, dict, FormRules(**rules))

    return anyio.run(receiving)


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
def test_a_form_comes_in_pieces_of_any_size(staged: StagedUpload, size: int) -> None:
    photo = bytes(range(256)) * 3 + b"\r\n--b\r\n--"
    form = part("style", b"comic") + part("images", photo[:-9], "a.png") + part("images", photo, "a.zip")
    form = form.replace(photo, photo[:-9] + b"--bb") + b"--b--\r\n"
    fields = received(staged, *(form[n : n + size] for n in range(0, len(form), size)))
    assert fields == {"style": "comic"}
    assert [sent.name for sent in staged.sent] == ["a.png", "a.zip"]
    assert [sent.path.read_bytes() for sent in staged.sent] == [photo[:-9], photo[:-9] + b"--bb"]


def test_large_files_are_on_disk_before_all_has_come(staged: StagedUpload, tmp_path: Path) -> None:
    seen: list[int] = []

    def chunks() -> Iterator[bytes]:
        yield part("images", b"", "a.png")[:-2]
        for _ in range(4):
            yield bytes(BATCH_BYTES)
            seen.append(sum(path.stat().st_size for path in (tmp_path / "incoming").rglob("*") if path.is_file()))
        yield b"\r\n--b--\r\n"

    async def receiving() -> None:
        await receive(request(chunks()), staged, dict)

    anyio.run(receiving)
    # What is still in memory is less than a batch, and what the operating system was not given yet.
    assert all(on_disk > (n - 1) * BATCH_BYTES for n, on_disk in enumerate(seen))


@pytest.mark.parametrize(
    ("form", "error", "told"),
    [
        (part("images", bytes(2**20 + 1), "wide.png"), TooLargeError, "wide.png is larger than 1 MB"),
        (part("images", bytes(2 * 2**20 + 1), "a.zip"), TooLargeError, "a.zip is larger than 2 MB"),
        (part("style", b"x" * (FIELD_BYTES + 1)), OptionsError, "too long"),
        (part("style", b"x") * 2, OptionsError, "more than once"),
        (b"".join(part(f"f{n}", b"") for n in range(MOST_FIELDS + 1)), OptionsError, "too many fields"),
        (part("other", b"x", "a.png"), OptionsError, "'other' is not known"),
        (part("images", b"x"), OptionsError, "holds no file"),
        (part("x" * HEADER_BYTES, b""), OptionsError, "cannot be read"),
        (b"--b\r\nX: y\r\n" * 3, OptionsError, "cannot be read"),
        (b"nonsense", OptionsError, "cannot be read"),
        (part("images", b"x", "a.png"), OptionsError, "cannot be read"),
    ],
    ids=["file", "zip", "field", "twice", "fields", "unknown", "no-file", "header", "headers", "nonsense", "cut"],
)
def test_what_is_refused_is_told_and_leaves_nothing(
    staged: StagedUpload, tmp_path: Path, form: bytes, error: type[CartoonError], told: str
) -> None:
    whole = form if told == "cannot be read" else form + b"--b--\r\n"
    with pytest.raises(error, match=told):
        received(staged, whole)
    assert left(tmp_path) == []


def test_a_long_name_is_no_reason_to_refuse(staged: StagedUpload) -> None:
    received(staged, part("images", b"x", "ü" * 4000 + ".png") + b"--b--\r\n")
    assert staged.sent[0].name.endswith(".png")


def test_one_file_more_than_a_door_takes_is_refused(staged: StagedUpload, tmp_path: Path) -> None:
    with pytest.raises(OptionsError, match="more than once"):
        received(staged, part("images", b"x", "a.png") * 2 + b"--b--\r\n", most_files=1)
    assert left(tmp_path) == []


def test_who_leaves_leaves_nothing_behind(staged: StagedUpload, tmp_path: Path) -> None:
    begun = part("images", bytes(2 * BATCH_BYTES), "a.png")

    async def receiving() -> None:
        await receive(request([begun], leaves=True), staged, dict)

    with pytest.raises(ClientDisconnect):
        anyio.run(receiving)
    assert left(tmp_path) == []


def test_a_request_that_is_cut_off_leaves_nothing_behind(staged: StagedUpload, tmp_path: Path) -> None:
    """As a server does that stops: it cancels the task, once, and waits for no thread."""

    async def cut_off() -> None:
        begun = part("images", bytes(2 * BATCH_BYTES), "a.png")
        task = asyncio.ensure_future(receive(request([begun], ends=False), staged, dict))
        await soon(lambda: bool(left(tmp_path) and staged.size))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    anyio.run(cut_off)
    wait_for(lambda: left(tmp_path) == [])


def test_what_a_thread_has_in_hand_goes_when_it_is_done(staged: StagedUpload, tmp_path: Path) -> None:
    reached, go = threading.Event(), threading.Event()

    def take(fields: dict[str, str]) -> None:
        reached.set()
        assert go.wait(PATIENCE)
        (staged.folder / "late").touch()

    async def cut_off() -> None:
        form = part("images", b"x", "a.png") + b"--b--\r\n"
        task = asyncio.ensure_future(receive(request([form]), staged, take))
        await soon(reached.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(tmp_path) != []
        go.set()

    anyio.run(cut_off)
    wait_for(lambda: left(tmp_path) == [])
