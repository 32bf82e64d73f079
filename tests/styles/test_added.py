"""The official styles: their rows, and how their files come into the folder of styles."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cartoon.errors import BusyError, OutputError, ResourceError, StyleError
from cartoon.images.encode import encode
from cartoon.styles.download import Network
from cartoon.styles.official import PINS, OfficialFile, OfficialStyle, add, added, find, official, verified
from tests.styles.bad_server import (
    DIGEST,
    Answer,
    BadServer,
    cut,
    whole,
)

PICTURE = encode(np.full((16, 16, 3), 200, np.uint8), None, "jpg")
NODE = b"\x0a\x01x\x12\x05Const"  # a NodeDef: its name, its op
GRAPH = b"\x0a" + bytes([len(NODE)]) + NODE
CONTENT = {"cartoon_bg.pb": GRAPH, "cartoon_h.pb": GRAPH + b"\x22\x00", "alpha.jpg": PICTURE}


@pytest.fixture
def row(server: BadServer) -> OfficialStyle:
    files = tuple(OfficialFile(name, f"http://{server.place}/{name}", None) for name in CONTENT)
    return replace(official()[0], files=files)


@pytest.fixture
def hub(server: BadServer) -> dict[str, Answer]:
    """What the server has for each name; tests change it."""
    answers = {name: whole(content) for name, content in CONTENT.items()}
    server.answers = [lambda to: answers[to.path.removeprefix("/")](to)]
    return answers


def test_the_seven_rows_are_whole_and_nothing_is_said_that_is_not_known() -> None:
    rows = official()
    names = "anime 3d handdrawn sketch artstyle sd-design sd-illustration"
    assert [row.id for row in rows] == [f"dctnet-{name}" for name in names.split()]
    for row in rows:
        assert [file.name for file in row.files] == list(CONTENT)
        for file in row.files:
            assert file.url.startswith(f"https://modelscope.cn/api/v1/models/{row.model}/repo?Revision=")
            assert file.url.endswith(f"&FilePath={file.name}")
        for words in (row.id, row.model, "Apache-2.0", "weights: unknown", row.origin, "modelscope.cn"):
            assert words in row.notice
    with pytest.raises(StyleError, match=r"'dctnet'.*dctnet-anime, dctnet-3d"):
        find("dctnet")


def test_a_style_is_added_whole_pinned_and_not_fetched_twice(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, server: BadServer
) -> None:
    told: list[str] = []
    assert added(tmp_path) == ()
    folder = add(row, tmp_path, watch=lambda name, done, total: told.append(name), network=network)
    assert folder == tmp_path / "dctnet-anime"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PINS} == CONTENT
    pins = json.loads((folder / PINS).read_text())
    assert pins == {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    assert set(told) == set(CONTENT)
    assert verified(row, tmp_path) == folder
    assert [style.id for style in added(tmp_path)] == ["dctnet-anime"]
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".lock"} == {"dctnet-anime"}
    add(row, tmp_path, network=network)
    assert len(server.seen) == 3


def test_a_file_that_differs_later_is_refused_on_load_and_on_download(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    folder = add(row, tmp_path, network=network)
    (folder / "cartoon_h.pb").write_bytes(GRAPH)
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb of dctnet-anime is missing or not the file .*styles add"):
        verified(row, tmp_path)
    hub["cartoon_h.pb"] = whole(GRAPH, '"new"')
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb from 127\.0\.0\.1 is not .*remove pins\.json"):
        add(row, tmp_path, network=network)
    assert (folder / "alpha.jpg").exists()  # nothing was put in place
    hub["cartoon_h.pb"] = whole(CONTENT["cartoon_h.pb"])
    assert verified(row, add(row, tmp_path, network=network).parent) == folder
    (folder / PINS).unlink()
    with pytest.raises(StyleError, match=r"has no sha256 in pins\.json"):
        verified(row, tmp_path)
    shutil.rmtree(folder)
    with pytest.raises(StyleError, match="dctnet-anime is not here yet"):
        verified(row, tmp_path)


def test_a_digest_in_the_row_is_held_to_from_the_first(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    row = replace(row, files=(replace(row.files[0], sha256=DIGEST), *row.files[1:]))
    with pytest.raises(StyleError, match="sha256 differs"):
        add(row, tmp_path, network=network)
    assert not (tmp_path / row.id).exists()


def test_an_interrupted_addition_is_gone_on_with(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, server: BadServer
) -> None:
    hub["cartoon_h.pb"] = cut(5, CONTENT["cartoon_h.pb"])
    with pytest.raises(ResourceError, match=r"^cartoon_h\.pb could not be fetched"):
        add(row, tmp_path, network=network)
    assert not (tmp_path / row.id).exists()
    hub["cartoon_h.pb"] = whole(CONTENT["cartoon_h.pb"])
    server.seen = []
    verified(row, add(row, tmp_path, network=network).parent)
    assert [seen.get("range") for seen in server.seen] == ["bytes=5-", None]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cartoon_bg.pb", GRAPH[:-2]),
        ("cartoon_bg.pb", b"no graph"),
        ("cartoon_bg.pb", PICTURE),
        ("alpha.jpg", PICTURE[:-100]),
        ("alpha.jpg", GRAPH),
    ],
)
def test_a_first_file_that_is_no_graph_or_picture_is_never_pinned(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network, name: str, content: bytes
) -> None:
    hub[name] = whole(content)
    with pytest.raises(StyleError, match=rf"^{name} is no whole "):
        add(row, tmp_path / "net", network=network)
    (tmp_path / "own").mkdir()
    for each, good in CONTENT.items():
        (tmp_path / "own" / each).write_bytes(content if each == name else good)
    with pytest.raises(StyleError, match=rf"^{name} is no whole "):
        add(row, tmp_path / "copied", tmp_path / "own", network=network)
    for folder in ("net", "copied"):
        assert not (tmp_path / folder / row.id).exists()
        pinned = tmp_path / folder / f".{row.id}.part" / PINS
        assert not pinned.exists() or name not in json.loads(pinned.read_text())


def test_files_that_a_user_has_are_taken_without_a_network(tmp_path: Path, row: OfficialStyle) -> None:
    own, styles = tmp_path / "own", tmp_path / "styles"
    own.mkdir()
    for name, content in CONTENT.items():
        (own / name).write_bytes(content)
    (own / "more.txt").write_text("not taken")
    folder = add(row, styles, own)
    assert {path.name for path in folder.iterdir()} == {*CONTENT, PINS}
    assert verified(row, styles) == folder
    shutil.rmtree(own)
    assert add(row, styles, own) == folder  # all of it is there
    (folder / "alpha.jpg").unlink()
    own.mkdir()
    (own / "cartoon_bg.pb").write_bytes(CONTENT["cartoon_h.pb"])
    with pytest.raises(StyleError, match=r"^cartoon_bg\.pb in .* is not the file that was added before"):
        add(row, styles, own)
    (own / "cartoon_bg.pb").write_bytes(GRAPH)
    (own / "cartoon_h.pb").mkdir()
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb is missing from .*own: name the folder"):
        add(row, styles, own)
    (own / "cartoon_h.pb").rmdir()
    (own / "cartoon_h.pb").write_bytes(b"")
    with pytest.raises(StyleError, match=r"^cartoon_h\.pb"):
        add(row, styles, own)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, row: OfficialStyle) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^dctnet-anime cannot be put into the styles folder"):
        add(row, tmp_path / "file")


def test_two_additions_at_once_are_kept_apart(
    tmp_path: Path, row: OfficialStyle, hub: dict[str, Answer], network: Network
) -> None:
    def second(name: str, done: int, total: int | None) -> None:
        with pytest.raises(BusyError, match=r"^dctnet-anime is being added"):
            add(row, tmp_path, network=network)

    assert verified(row, add(row, tmp_path, watch=second, network=network).parent)
