"""Inputs and outputs under URLs: the same job, with the pictures in a store and its own files on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cartoon.cli.commands import app
from cartoon.errors import InputError, OptionsError, ResourceError, StorageError
from cartoon.images.decode import decode
from cartoon.images.encode import encode
from cartoon.jobs.inputs import remote
from tests.fakes import load_fake

STORES = (("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs"))
PICTURES = ("p/1.png", "p/2.png", "p/deep/3.png", "4.png")


@pytest.fixture
def store() -> Iterator[Any]:
    """A store in memory that holds PICTURES under /in, and two files that are none."""
    store = fsspec.filesystem("memory")
    store.pipe({f"/in/{name}": picture(number) for number, name in enumerate(PICTURES)})
    store.pipe({"/in/p/notes.txt": b"no picture", "/in/p/.hidden.png": b"no picture"})
    yield store
    store.rm("/", recursive=True)


def picture(number: int) -> bytes:
    return encode(np.full((30, 40, 3), 40 * (number + 1), np.uint8), None, "png")


def ran(tmp_path: Path, *arguments: str) -> Result:
    environment = {"CARTOON_DATA_DIR": str(tmp_path / "data")}
    command = ["run", *arguments, "--size", "64", "--strength", "1", "--json"]
    return CliRunner().invoke(app, command, obj=load_fake, env=environment)


def events(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def names(store: Any, root: str) -> set[str]:
    return {path.removeprefix(f"{root}/") for path in store.find(root)}


def test_a_tree_of_a_store_is_drawn_into_another_under_the_same_names(store: Any, tmp_path: Path) -> None:
    result = ran(tmp_path, "memory://in", "-o", "memory://results/of")
    assert result.exit_code == 0, result.output
    told = events(result)
    assert {event["input"] for event in told[:-1]} == {f"memory://in/{name}" for name in PICTURES}
    assert {event["output"] for event in told[:-1]} == {f"memory://results/of/{name}" for name in PICTURES}
    assert told[-1]["out"] == "memory://results/of"
    assert told[-1]["ignored"] == 1
    assert names(store, "/results/of") == {*PICTURES, "report.csv", "report.json"}
    for number, name in enumerate(PICTURES):
        assert (decode(store.cat(f"/results/of/{name}"), name).pixels == 255 - 40 * (number + 1)).all()
    folder = Path(told[-1]["job"])
    assert folder.is_relative_to(tmp_path / "data" / "cluster-jobs")
    assert json.loads(store.cat("/results/of/report.json")) == json.loads((folder / "report.json").read_bytes())
    items = [json.loads(line) for line in (folder / "items.jsonl").read_text().splitlines()]
    assert [item["bytes"] for item in items] == [len(store.cat(f"/in/{item['path']}")) for item in items]


def test_the_same_command_draws_what_is_missing_has_changed_or_is_new(store: Any, tmp_path: Path) -> None:
    command = ("memory://in", "-o", "memory://results")
    assert ran(tmp_path, *command).exit_code == 0
    assert events(ran(tmp_path, *command))[-1]["done"] == 0
    store.rm("/results/4.png")
    store.pipe("/results/p/1.png", b"altered")
    store.pipe({"/in/p/2.png": picture(5), "/in/5.png": picture(4)})
    result = ran(tmp_path, *command)
    assert result.exit_code == 0, result.output
    told = events(result)
    drawn = {event["output"].removeprefix("memory://results/") for event in told[:-1] if event["status"] == "done"}
    assert drawn == {"4.png", "p/1.png", "p/2.png", "5.png"}
    assert (decode(store.cat("/results/p/2.png"), "2").pixels == 255 - 40 * 6).all()
    kept = list((Path(told[-1]["job"]) / "replaced").iterdir())
    assert [file.read_bytes() for file in kept if file.stat().st_size < 10] == [b"altered"]


def test_results_may_go_from_files_to_a_store_and_back(store: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.png").write_bytes(picture(0))
    assert ran(tmp_path, (tmp_path / "in").as_uri(), "-o", "memory://there").exit_code == 0
    assert "a b.png" in names(store, "/there")
    assert ran(tmp_path, "memory://in/p", "-o", (tmp_path / "out dir").as_uri()).exit_code == 0
    assert {path.name for path in (tmp_path / "out dir").rglob("*.png")} == {"1.png", "2.png", "3.png"}
    assert (tmp_path / "out dir" / ".cartoon").is_dir(), "a file:// URL is the ordinary path"


def test_what_lies_in_the_store_already_is_somebody_elses_and_is_kept(store: Any, tmp_path: Path) -> None:
    store.pipe("/results/4.png", b"mine")
    told = events(ran(tmp_path, "memory://in", "-o", "memory://results"))
    assert [event["status"] for event in told[:-1]].count("skipped") == 1
    assert store.cat("/results/4.png") == b"mine"
    assert "memory://results/4.png is already there" in next(e["message"] for e in told if e.get("message"))


def test_one_object_is_drawn_and_keep_writes_its_own_format(store: Any, tmp_path: Path) -> None:
    store.pipe("/one/a.png", encode(np.full((30, 40, 3), 99, np.uint8), None, "webp"))
    assert ran(tmp_path, "memory://one/a.png", "-o", "memory://results", "--format", "keep").exit_code == 0
    assert "a.webp" in names(store, "/results")


def test_results_inside_the_inputs_are_not_drawn_again(store: Any, tmp_path: Path) -> None:
    command = ("memory://in", "-o", "memory://in/out")
    assert ran(tmp_path, *command).exit_code == 0
    assert events(ran(tmp_path, *command))[-1] | {"seconds": 0} == events(ran(tmp_path, *command))[-1] | {"seconds": 0}
    assert names(store, "/in/out") == {*PICTURES, "report.csv", "report.json"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["memory://in", "-o", "memory://in"], "both input and output"),
        (["memory://in/p/1.png", "-o", "memory://in/p"], "one of the inputs"),
        (["memory://nowhere", "-o", "memory://results"], "memory://nowhere: nothing lies there"),
        (["memory://in", "-o", "memory://results", "--zip", "x.zip"], "leave it out where OUT is a URL"),
        (["memory://in", "-o", "memory://results", "--dry-run"], "files of this machine only"),
        (["memory://in", "-o", "nosuch://results"], "addresses like nosuch:// are not known"),
    ],
)
def test_wrong_usage_is_a_sentence(store: Any, tmp_path: Path, arguments: list[str], words: str) -> None:
    before = store.find("/")
    result = ran(tmp_path, *arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert store.find("/") == before


def test_a_store_whose_library_is_missing_names_it() -> None:
    missing = next((scheme for scheme, name in STORES if not installed(name)), None)
    if missing is None:
        pytest.skip("all of these libraries are installed")
    with pytest.raises(OptionsError, match=f"{missing}:// addresses need a library: .*nstall"):
        remote.check(Path(f"{missing}://bucket/photos"))


def installed(library: str) -> bool:
    from importlib.util import find_spec

    return find_spec(library) is not None


class BrokenStore(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A store whose every answer is `trouble`."""

    protocol = "broken"
    trouble: Exception = TimeoutError()

    def cat_file(self, path: str, *_: Any, **__: Any) -> bytes:
        raise self.trouble

    def pipe_file(self, path: str, value: bytes, *_: Any, **__: Any) -> None:
        raise self.trouble


@pytest.mark.parametrize(
    ("trouble", "reading", "writing"),
    [
        (TimeoutError(), ResourceError, ResourceError),
        (RuntimeError("503 slow down"), ResourceError, ResourceError),
        (PermissionError(), InputError, StorageError),
        (FileNotFoundError(), InputError, StorageError),
    ],
)
def test_what_may_pass_is_tried_again_and_a_place_that_is_gone_stops_the_job(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception, reading: type[Exception], writing: type[Exception]
) -> None:
    fsspec.register_implementation("broken", BrokenStore, clobber=True)
    monkeypatch.setattr(BrokenStore, "trouble", trouble)
    with pytest.raises(reading) as raised:
        remote.load(Path("broken://a/b.png"))
    assert type(raised.value) is reading
    with pytest.raises(writing) as raised:
        remote.save(Path("broken://a/b.png"), b"")
    assert type(raised.value) is writing


def test_a_url_travels_in_a_path_and_comes_out_whole() -> None:
    for url in ("s3://bucket/a/b.jpg", "memory://in/a", "gs://b"):
        assert remote.is_url(Path(url))
        assert remote.shown(Path(url)) == url
        assert remote.located(Path(url)) == Path(url)
        assert remote.located(Path(remote.shown(Path(url)))) == Path(url)
    for path in ("/abs/s3:/x", "relative/x", "C:/x", "a:b", "s3:"):
        assert not remote.is_url(Path(path))
        assert remote.shown(Path(path)) == path


def test_a_folder_that_is_called_like_a_url_stays_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "photos").mkdir(parents=True)
    assert remote.located(Path("s3:/photos")) == tmp_path / "s3:" / "photos"


def test_a_store_that_is_not_atomic_gets_a_whole_file_under_another_name_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    class Disk(fsspec.get_filesystem_class("file")):  # type: ignore[misc]
        """A disk behind a protocol of its own."""

        protocol = "shelf"

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return "/" + path.removeprefix("shelf://").lstrip("/")

        def pipe_file(self, path: str, value: bytes, *_: Any, **__: Any) -> None:
            written.append(PurePosixPath(path).name)
            super().pipe_file(path, value)

    fsspec.register_implementation("shelf", Disk, clobber=True)
    place = Path(f"shelf:/{tmp_path}/new/a.png")
    remote.save(place, b"whole", "mark-")
    assert (tmp_path / "new" / "a.png").read_bytes() == b"whole"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    assert written[0].startswith(".mark-")
