"""The command line keeps its promises: names, events, exit codes, and one sentence for every mistake."""

import json
import signal
import threading
import zipfile
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cartoon import __version__
from cartoon.cli import commands
from cartoon.cli.output import printable
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.options import Options
from cartoon.settings import Settings
from tests.fakes import FakeStylizer, TroubledStylizer, load_fake
from tests.small_style import write_style
from tests.waiting import PATIENCE


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos, one of them in a subfolder, one text file renamed .jpg, and notes that are no picture by name."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.jpeg", "sub/c.png")):
        (folder / name).write_bytes(encode(np.full((30, 40, 3), 90 + number, np.uint8), None, "png"))
    (folder / "bad.jpg").write_text("I am text")
    (folder / "notes.txt").write_text("not drawn")
    return folder


def call(*args: object, load: Any = load_fake) -> Result:
    return CliRunner().invoke(commands.app, [str(arg) for arg in args], obj=load)


def draw(*args: object, load: Any = load_fake) -> Result:
    return call("run", *args, "--size", 64, load=load)


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def files_in(folder: Path) -> list[str]:
    """All files but those of the jobs that wrote them."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(path.as_posix() for path in found if path.parts[0] != ".cartoon")


def never_load(settings: Settings) -> FakeStylizer:
    raise AssertionError("the model was loaded although the request was wrong")


def test_a_folder_is_drawn_and_a_bad_file_makes_the_exit_code_1(photos: Path, tmp_path: Path) -> None:
    result = draw(photos, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert files_in(tmp_path / "out") == ["a.png", "b.png", "sub/c.png"]
    assert result.stderr.startswith("failed: bad.jpg ")
    assert result.stdout.splitlines()[-1].startswith("3 drawn, 1 failed, 1 other files ignored in ")


def test_all_done_is_exit_code_0(photos: Path, tmp_path: Path) -> None:
    result = draw(photos / "a.png", photos / "b.jpeg", "-o", tmp_path / "out", "--format", "webp", "--quality", 50)
    assert (result.exit_code, result.stderr) == (0, "")
    assert files_in(tmp_path / "out") == ["a.webp", "b.webp"]
    assert read(tmp_path / "out" / "a.webp").format == "webp"
    assert read(tmp_path / "out" / "a.webp").pixels.shape == (48, 64, 3)


def test_json_is_one_event_per_photo_and_a_summary(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = draw(photos, "-o", out, "--json")
    *singles, summary = events(result)
    assert [(event["event"], event["input"], event["status"]) for event in singles] == [
        ("photo", str(photos / "a.png"), "done"),
        ("photo", str(photos / "b.jpeg"), "done"),
        ("photo", str(photos / "bad.jpg"), "failed"),
        ("photo", str(photos / "sub" / "c.png"), "done"),
    ]
    keys = {"event", "input", "output", "status", "code", "message", "seconds", "faces"}
    assert all(set(event) == keys for event in singles)
    assert singles[0]["output"] == str(out / "a.png")
    assert singles[2]["output"] is None
    assert singles[2]["code"] == "unsupported"
    assert singles[2]["message"].startswith("bad.jpg ")
    assert summary.pop("seconds") >= 0
    assert (Path(summary.pop("job")) / "journal.jsonl").parent.parent == out / ".cartoon"
    assert summary == {
        "event": "summary",
        "done": 3,
        "failed": 1,
        "skipped": 0,
        "remaining": 0,
        "flagged": 0,
        "ignored": 1,
        "out": str(out),
        "zip": None,
        "interrupted": False,
    }


def test_options_reach_the_stylizer(photos: Path, tmp_path: Path) -> None:
    seen: list[Options] = []

    class Noting(FakeStylizer):
        def draw(self, photo: Any, options: Options, *, urgent: bool = True) -> Any:
            seen.append(options)
            return super().draw(photo, options, urgent=urgent)

    flags = "--style comic --strength 0.9 --size original --exaggeration 0 --background #3366CC --format jpg".split()
    result = call("run", photos / "a.png", "-o", tmp_path, *flags, "--quality", 80, load=lambda *_: Noting())
    assert result.exit_code == 0
    assert seen == [Options("comic", 0.9, "original", 0.0, "#3366CC", "jpg", 80)]


def test_the_flags_defaults_are_those_of_options() -> None:
    flags = {name: parameter.default for name, parameter in signature(commands.run).parameters.items()}
    assert {field.name: field.type for field in fields(Options)}.keys() <= flags.keys()
    assert Options(**{field.name: flags[field.name] for field in fields(Options)}) == Options()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--style", "no-such"], "no-such"),
        (["--style", "gone/my.safetensors"], "my.safetensors is missing"),
        (["--strength", "1.5"], "strength must be between 0.1 and 1"),
        (["--size", "4096", "--upscale", "4", "--format", "webp"], "webp cannot hold size 4096 enlarged 4 times"),
        (["--strength", "nan"], "strength"),
        (["--strength", "much"], "--strength"),
        (["--size", "63"], "size must be a whole number from 64 to 4096"),
        (["--size", "huge"], "size"),
        (["--exaggeration", "2"], "exaggeration"),
        (["--background", "pink"], "background"),
        (["--format", "gif"], "format"),
        (["--quality", "0"], "quality"),
        (["--upscale", "3"], "upscale must be 1, 2 or 4"),
        (["--gate", "maybe"], "gate"),
    ],
)
def test_a_wrong_option_is_exit_code_2_before_anything_is_loaded(
    photos: Path, tmp_path: Path, flags: list[str], words: str
) -> None:
    result = call("run", photos, "-o", tmp_path / "out", *flags, load=never_load)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_wrong_paths_are_exit_code_2_before_anything_is_loaded(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for args, words in (
        ((photos, photos / "gone.png", "-o", tmp_path / "out"), "gone.png: no such file or folder"),
        ((tmp_path / "empty", "-o", tmp_path / "out"), "no pictures found"),
        ((photos, "-o", photos), "both input and output"),
        ((photos / "a.png", "-o", photos), "one of the inputs"),
        ((photos, "-o", tmp_path / "file"), "cannot be the output folder"),
        ((photos, "-o", tmp_path / "out", "--zip", photos / "a.png", "--overwrite"), "one of the inputs"),
        ((photos, "-o", tmp_path / "out", "--zip", photos), "is a folder"),
    ):
        before = {name: (photos / name).read_bytes() for name in files_in(photos)}
        result = draw(*args, load=never_load)
        assert (result.exit_code, result.stdout) == (2, ""), words
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert {name: (photos / name).read_bytes() for name in files_in(photos)} == before
        assert not (tmp_path / "out").exists()


def test_missing_arguments_are_exit_code_2(photos: Path) -> None:
    assert call("run", photos).exit_code == 2
    assert call("run", "-o", "out").exit_code == 2
    assert call("no-such-command").exit_code == 2


def test_a_named_text_file_fails_with_a_sentence_that_names_it(photos: Path, tmp_path: Path) -> None:
    result = draw(photos / "notes.txt", photos / "a.png", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith("failed: notes.txt is ")
    assert files_in(tmp_path / "out") == ["a.png"]


def test_what_is_there_is_skipped_unless_overwrite_is_given(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (photos / "bad.jpg").unlink()
    draw(photos, "-o", out)
    again = draw(photos, "-o", out, "--json")
    assert again.exit_code == 0
    assert [event["status"] for event in events(again)[:-1]] == ["skipped"] * 3
    assert "--overwrite" in events(again)[0]["message"]
    afresh = draw(photos, "-o", out, "--json", "--overwrite")
    assert [event["status"] for event in events(afresh)[:-1]] == ["done"] * 3


def test_results_are_not_drawn_again_when_they_lie_inside_the_input(photos: Path) -> None:
    for _ in range(2):
        result = draw(photos, "-o", photos / "out", "--json")
        assert events(result)[-1]["done"] + events(result)[-1]["skipped"] == 3
    assert files_in(photos / "out") == ["a.png", "b.png", "sub/c.png"]


def test_zip_holds_the_results_under_their_own_names_and_is_made_again_by_the_same_command(
    photos: Path, tmp_path: Path
) -> None:
    made = tmp_path / "deep" / "made.zip"
    for _ in range(2):
        result = draw(photos, "-o", tmp_path / "out", "--zip", made, "--json")
        assert result.exit_code == 1
        assert events(result)[-1]["zip"] == str(made)
        with zipfile.ZipFile(made) as bundle:
            assert sorted(bundle.namelist()) == ["a.png", "b.png", "report.csv", "report.json", "sub/c.png"]
            rows = json.loads(bundle.read("report.json"))
            assert [row["outcome"] for row in rows] == ["done", "done", "failed", "done"]
            assert bundle.read("a.png") == (tmp_path / "out" / "a.png").read_bytes()


def test_another_zip_is_not_replaced_without_overwrite(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as bundle:
        bundle.writestr("precious.txt", "x")
    before = other.read_bytes()
    refused = draw(photos, "-o", tmp_path / "out", "--zip", other, load=never_load)
    assert refused.exit_code == 2
    assert other.read_bytes() == before
    assert draw(photos / "a.png", "-o", tmp_path / "out", "--zip", other, "--overwrite").exit_code == 0
    with zipfile.ZipFile(other) as bundle:
        assert bundle.namelist() == ["a.png", "report.csv", "report.json"]


def test_a_zip_as_input_is_drawn_and_leaves_nothing_else(photos: Path, tmp_path: Path) -> None:
    packed = tmp_path / "photos.zip"
    with zipfile.ZipFile(packed, "w") as bundle:
        for name in files_in(photos):
            bundle.write(photos / name, name)
    out = tmp_path / "out"
    result = draw(packed, "-o", out, "--json")
    assert [event["input"] for event in events(result)[:-1]] == ["a.png", "b.jpeg", "bad.jpg", "sub/c.png"]
    assert files_in(out) == ["a.png", "b.png", "sub/c.png"]
    assert not list(out.rglob("zip-*"))  # what was unpacked is gone


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_says_how_to_go_on_and_leaves_whole_files_only(
    photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"

    held = threading.Event()

    def interrupt_at_b(name: str) -> None:
        if name == "b.jpeg":
            signal.raise_signal(number)
            held.set()
        else:
            held.wait(PATIENCE)

    def load(settings: Settings) -> FakeStylizer:
        return TroubledStylizer(interrupt_at_b)

    for n in range(20):
        (photos / f"d{n:02}.png").write_bytes((photos / "a.png").read_bytes() + bytes([n]))  # no two are the same file
    stopped = draw(photos, "-o", out, "--json", "--zip", tmp_path / "z.zip", load=load)
    assert stopped.exit_code == 130
    assert "run the same command again" in stopped.stderr
    assert events(stopped)[-1]["interrupted"] is True
    written = {name: (out / name).read_bytes() for name in files_in(out)}
    assert {"a.png", "b.png"} <= written.keys()  # b was under way and is ended
    assert len(written) < 10  # nothing further was begun
    summary = events(stopped)[-1]
    assert summary["done"] == len(written)
    assert summary["remaining"] == 24 - summary["done"] - summary["failed"]
    assert not (tmp_path / "z.zip").exists()
    went_on = draw(photos, "-o", out, "--json")
    status = {Path(event["input"]).name: event["status"] for event in events(went_on)[:-1]}
    assert {status["a.png"], status["b.jpeg"]} == {"skipped"}
    assert (len(status), status["bad.jpg"], status["d19.png"], status["c.png"]) == (24, "failed", "done", "done")
    again = draw(photos, "-o", out, "--json", "--overwrite")
    assert again.exit_code == 1
    assert {name: (out / name).read_bytes() for name in written} == written


def test_a_device_that_is_not_there_is_one_sentence(photos: Path, tmp_path: Path) -> None:
    result = draw(photos, "-o", tmp_path / "out", "--device", "cuda:7")
    assert result.exit_code == 1
    assert result.stderr == "error: device cuda:7 is not there: use auto or cpu.\n"


def test_styles_lists_id_title_licence_and_origin() -> None:
    plain = call("styles").stdout.splitlines()
    assert plain[0].split() == ["id", "title", "licence", "origin"]
    rows = events(call("styles", "--json"))
    assert {"anime", "comic"} <= {row["id"] for row in rows}
    assert all(list(row) == ["id", "title", "licence", "origin"] and all(row.values()) for row in rows)
    assert [line.split()[0] for line in plain[1:]] == [row["id"] for row in rows]


def test_a_users_own_styles_are_listed_and_drawn_by_name_or_path(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my styles"
    folder.mkdir()
    monkeypatch.setenv("CARTOON_STYLES_DIR", str(folder))
    shipped = [row["id"] for row in events(call("styles", "--json"))]
    write_style(folder / "wool.safetensors")
    (folder / "broken.safetensors").write_bytes(b"oops")
    listed = call("styles", "--json")
    assert [row["id"] for row in events(listed)] == [*shipped, "wool"]
    assert events(listed)[-1]["licence"] == "your own"
    elsewhere = write_style(tmp_path / "felt.safetensors")
    for style in ("wool", folder / "wool.safetensors", elsewhere):
        result = draw(photos / "a.png", "-o", tmp_path / "out", "--style", style, "--overwrite")
        assert (result.exit_code, result.stderr) == (0, "")
    assert draw(photos / "a.png", "-o", tmp_path / "out", "--style", "felt", load=never_load).exit_code == 2


def test_a_style_file_that_is_broken_or_takes_a_shipped_name_is_exit_code_2(photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"oops")
    for path in (broken, write_style(tmp_path / "clash.safetensors", "anime")):
        result = draw(photos / "a.png", "-o", tmp_path / "out", "--style", path, load=never_load)
        assert (result.exit_code, result.stdout) == (2, "")
        assert path.name in result.stderr


def test_version_and_bare_call() -> None:
    assert call("--version").stdout == f"cartoon {__version__}\n"
    bare = call()
    assert bare.exit_code == 2
    assert "Commands:" in bare.output


def test_a_wrong_setting_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTOON_PRECISION", "int1")
    result = call("serve")
    assert result.exit_code == 2
    assert "precision" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_names_that_would_steer_a_terminal_or_are_no_utf8_are_escaped() -> None:
    assert printable("a\x1b[2J\udce9 ü.png") == "a\\x1b[2J\\udce9 ü.png"
