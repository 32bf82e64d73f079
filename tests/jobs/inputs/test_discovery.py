"""Inputs become items with distinct results, whatever people name: files, folders, zips, and hostile zips."""

import io
import os
import zipfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cartoon.errors import InputError, OptionsError, TooLargeError, UnreadableError, UnsupportedError
from cartoon.images.formats import SUFFIXES
from cartoon.jobs.inputs import zips
from cartoon.jobs.inputs.discovery import collect, find, output_paths
from cartoon.jobs.inputs.names import PART_BYTES, PATH_BYTES, fitting, with_ending
from cartoon.jobs.inputs.zips import check_target, unpack, write_zip
from cartoon.jobs.model import Item
from cartoon.options import Options

NAMES = ("a.jpg", "A.png", "a-2.png", "a-3.jpg", "ss.png", "ß.png", "a/x.png", "a.png/x.jpg")
"""Names whose results are the same, or the same ignoring case, or another one's numbered name."""


def touch(root: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def names_of(items: list[Item]) -> list[str]:
    return [item.name for item in items]


def zip_of(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def results(relatives: list[str], out: Path, options: Options | None = None) -> list[str]:
    items = [Item(out.parent / "nowhere" / name, PurePosixPath(name)) for name in relatives]
    return [path.relative_to(out).as_posix() for path in output_paths(items, options or Options(), out)]


class TestFolders:
    def test_walk_keeps_the_tree_sorts_and_leaves_out_what_is_hidden_or_no_picture(self, tmp_path: Path) -> None:
        touch(tmp_path, "b.JPG", "a.png", "sub/deep/c.webp", ".hidden.png", ".git/d.png", "__MACOSX/e.png", "._a.png")
        touch(tmp_path, "notes.txt", "sub/film.mp4")
        found = find([tmp_path])
        assert names_of(list(found.items)) == ["a.png", "b.JPG", "sub/deep/c.webp"]
        assert found.ignored == 2

    def test_results_inside_the_input_folder_are_not_taken_in_again(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "out/a.png", "other/out/b.png")
        assert names_of(list(find([tmp_path], out=tmp_path / "out").items)) == ["a.png", "other/out/b.png"]

    def test_the_input_folder_itself_is_refused_as_output(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        with pytest.raises(OptionsError, match="both input and output"):
            find([tmp_path], out=tmp_path / "sub" / "..")

    def test_a_folder_without_pictures_is_an_error_that_says_what_is_looked_for(self, tmp_path: Path) -> None:
        touch(tmp_path, "notes.txt")
        with pytest.raises(InputError, match=r"no pictures found \(1 other files ignored\).*\.jpg"):
            collect([tmp_path])

    def test_pipes_are_ignored_and_linked_folders_not_followed(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        touch(tmp_path, "a.png")
        os.mkfifo(tmp_path / "pipe.png")
        (tmp_path / "loop").symlink_to(tmp_path)
        assert names_of(collect([tmp_path])) == ["a.png"]
        assert "loop is a link to a folder" in caplog.text

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
    def test_a_folder_that_may_not_be_listed_is_a_refused_item(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "closed/b.png")
        (tmp_path / "closed").chmod(0)
        try:
            items = collect([tmp_path])
        finally:
            (tmp_path / "closed").chmod(0o700)
        assert [isinstance(item.refused, UnreadableError) for item in items] == [False, True]


class TestFiles:
    def test_a_named_file_is_taken_whatever_its_suffix(self, tmp_path: Path) -> None:
        touch(tmp_path, "notes.txt", ".hidden")
        assert names_of(collect([tmp_path / "notes.txt", tmp_path / ".hidden"])) == ["notes.txt", ".hidden"]

    def test_a_missing_path_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"gone\.png: no such file"):
            collect([tmp_path / "gone.png"])

    def test_a_file_named_twice_or_also_found_in_its_folder_is_one_item(self, tmp_path: Path) -> None:
        touch(tmp_path, "sub/a.png")
        inputs = [tmp_path / "sub" / "a.png", tmp_path, tmp_path / "sub" / ".." / "sub" / "a.png"]
        assert names_of(collect(inputs)) == ["a.png"]


class TestOutputs:
    def test_stem_and_folders_stay_and_the_suffix_is_the_formats(self, tmp_path: Path) -> None:
        assert results(["a.b.jpg", "sub/c.HEIC"], tmp_path, Options(format="webp")) == ["a.b.webp", "sub/c.webp"]

    @pytest.mark.parametrize(
        ("relatives", "expected"),
        [
            (["a.jpg", "a.png"], ["a.png", "a-2.png"]),
            (["A.jpg", "a.jpg", "a.webp"], ["A.png", "a-2.png", "a-3.png"]),
            (["a.jpg", "a.png", "a-2.jpg"], ["a.png", "a-3.png", "a-2.png"]),
            (["caf\u00e9.jpg", "cafe\u0301.jpg"], ["caf\u00e9.png", "cafe\u0301-2.png"]),
            (["x.jpg", "x.png/b.jpg"], ["x-2.png", "x.png/b.png"]),
        ],
    )
    def test_names_that_would_meet_are_told_apart(
        self, tmp_path: Path, relatives: list[str], expected: list[str]
    ) -> None:
        assert results(relatives, tmp_path) == expected

    @given(st.lists(st.sampled_from([f"{d}{n}" for d in ("", "a/", "A/") for n in NAMES]), max_size=12))
    def test_results_are_always_distinct_even_ignoring_case(self, relatives: list[str]) -> None:
        made = results(relatives, Path("out"))
        assert len({name.casefold() for name in made}) == len(relatives)

    def test_keep_follows_the_bytes_not_the_suffix(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", content=b"\xff\xd8\xff\xe0 and so on")
        touch(tmp_path, "b.jpg", content=b"RIFF\0\0\0\0WEBPVP8 ")
        touch(tmp_path, "c.jpg", content=b"no picture")
        items = collect([tmp_path])
        made = output_paths(items, Options(format="keep"), tmp_path / "out")
        assert [path.name for path in made] == ["a.jpg", "b.webp", "c.png"]

    def test_a_result_never_replaces_an_input(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "b.jpg")
        with pytest.raises(OptionsError, match="one of the inputs"):
            output_paths(collect([tmp_path / "a.png"]), Options(), tmp_path)
        assert output_paths(collect([tmp_path / "b.jpg"]), Options(), tmp_path) == [tmp_path / "b.png"]

    def test_an_input_reached_through_another_name_of_its_folder_is_still_an_input(self, tmp_path: Path) -> None:
        touch(tmp_path, "photos/a.png")
        (tmp_path / "album").symlink_to(tmp_path / "photos")
        with pytest.raises(OptionsError, match="one of the inputs"):
            output_paths(collect([tmp_path / "photos" / "a.png"]), Options(), tmp_path / "album")


class TestZips:
    def test_members_keep_their_paths_and_lie_unpacked_under_numbers(self, tmp_path: Path) -> None:
        path = zip_of(
            tmp_path / "p.ZIP", {"b/ü.jpg": b"2", "a.png": b"1", "c\\d.png": b"3", ".x.png": b"", "n.txt": b""}
        )
        found = find([path], tmp_path)
        assert names_of(list(found.items)) == ["a.png", "b/ü.jpg", "c/d.png"]
        assert [item.source.read_bytes() for item in found.items] == [b"1", b"2", b"3"]
        assert all(item.source.name.isdigit() for item in found.items)
        assert found.ignored == 1

    @pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"])
    def test_a_path_that_leads_outside_is_refused_and_the_rest_goes_on(self, tmp_path: Path, name: str) -> None:
        path = zip_of(tmp_path / "p.zip", {name: b"evil", "good.png": b"good"})
        (tmp_path / "into").mkdir()
        items = collect([path], tmp_path / "into")
        evil = next(item for item in items if item.refused)
        assert isinstance(evil.refused, UnsupportedError)
        assert "p.zip" in str(evil.refused)
        assert [item.name for item in items if not item.refused] == ["good.png"]
        assert [p.read_bytes() for p in (tmp_path / "into").rglob("*") if p.is_file()] == [b"good"]
        assert output_paths(items, Options(), tmp_path / "out")[items.index(evil)].parent == tmp_path / "out"

    def test_a_bomb_is_refused_before_it_is_unpacked(self, tmp_path: Path) -> None:
        bomb = zip_of(tmp_path / "bomb.zip", {"a.png": bytes(80 << 20)}, compression=zipfile.ZIP_DEFLATED)
        assert bomb.stat().st_size < 100_000
        items = collect([bomb], tmp_path)
        assert isinstance(items[0].refused, TooLargeError)
        assert "80 MiB" in str(items[0].refused)
        assert not list(tmp_path.glob("zip-*"))

    def test_a_member_never_unpacks_to_more_than_it_declares(self, tmp_path: Path) -> None:
        path = zip_of(tmp_path / "liar.zip", {"a.png": bytes(1 << 20)}, compression=zipfile.ZIP_DEFLATED)
        honest, lie = (1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
        path.write_bytes(path.read_bytes().replace(honest, lie))
        items = collect([path], tmp_path)
        assert isinstance(items[0].refused, UnreadableError)
        assert all(p.stat().st_size <= 10 for p in tmp_path.glob("zip-*/*"))

    def test_a_zip_that_is_none_becomes_one_refused_item(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", "broken.zip")
        items = collect([tmp_path / "broken.zip", tmp_path / "a.png"], tmp_path)
        assert isinstance(items[0].refused, UnreadableError)
        assert "broken.zip" in str(items[0].refused)
        assert items[1].refused is None

    def test_a_damaged_member_is_refused_alone(self, tmp_path: Path) -> None:
        path = zip_of(tmp_path / "p.zip", {"a.png": b"A" * 50, "b.png": b"B" * 50})
        path.write_bytes(path.read_bytes().replace(b"A" * 50, b"A" * 49 + b"?"))
        items = collect([path], tmp_path)
        assert isinstance(items[0].refused, UnreadableError)
        assert items[1].source.read_bytes() == b"B" * 50

    def test_a_member_with_a_password_is_refused(self, tmp_path: Path) -> None:
        path = zip_of(tmp_path / "p.zip", {"a.png": b"secret"})
        data = bytearray(path.read_bytes())
        data[6] |= 1  # general purpose flags in the local header
        data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the central directory
        path.write_bytes(data)
        items = collect([path], tmp_path)
        assert "password" in str(items[0].refused)

    def test_without_a_place_to_unpack_a_zip_is_a_clear_error(self, tmp_path: Path) -> None:
        path = zip_of(tmp_path / "p.zip", {"a.png": b""})
        with pytest.raises(InputError, match="unpack it"):
            collect([path])

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_any_damage_gives_items_or_refusals_never_another_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as bundle:
            bundle.writestr("a.png", b"hello " * 20)
            bundle.writestr("ü/b.jpg", b"world " * 20)
        raw = bytearray(made.getvalue())
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        folder = tmp_path_factory.mktemp("zip")
        path = folder / "p.zip"
        path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
        for item in unpack(path, folder / "unpacked").items:
            assert item.refused or item.source.is_file()


class TestWritingZips:
    def test_files_are_stored_under_their_names_and_nothing_else_is_left(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png", content=b"a" * 1000)
        touch(tmp_path, "ü.png", content=b"b")
        write_zip(tmp_path / "made.zip", [(tmp_path / "a.png", "sub/a.png"), (tmp_path / "ü.png", "ü.png")])
        with zipfile.ZipFile(tmp_path / "made.zip") as bundle:
            assert bundle.testzip() is None
            assert {m.filename: m.compress_type for m in bundle.infolist()} == {"sub/a.png": 0, "ü.png": 0}
        assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "made.zip", "ü.png"]

    def test_a_failure_leaves_the_old_zip_and_no_temporary_file(self, tmp_path: Path) -> None:
        touch(tmp_path, "made.zip", content=b"old")
        with pytest.raises(FileNotFoundError):
            write_zip(tmp_path / "made.zip", [(tmp_path / "gone.png", "gone.png")])
        assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("made.zip", b"old")]

    def test_names_that_are_no_utf8_and_dates_before_1980_are_packed(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.png")
        os.utime(tmp_path / "a.png", (0, 0))
        write_zip(tmp_path / "made.zip", [(tmp_path / "a.png", "caf\udce9.png")])
        with zipfile.ZipFile(tmp_path / "made.zip") as bundle:
            assert bundle.namelist() == ["caf\ufffd.png"]

    def test_only_an_earlier_result_may_be_replaced(self, tmp_path: Path) -> None:
        target = tmp_path / "made.zip"
        check_target(target, {"a.png"}, [], overwrite=False)
        zip_of(target, {"a.png": b"1"})
        check_target(target, {"a.png", "b.png"}, [], overwrite=False)
        with pytest.raises(OptionsError, match="something else"):
            check_target(target, {"b.png"}, [], overwrite=False)
        check_target(target, {"b.png"}, [], overwrite=True)
        with pytest.raises(OptionsError, match="one of the inputs"):
            check_target(target, {"a.png"}, [target], overwrite=True)
        with pytest.raises(OptionsError, match="is a folder"):
            check_target(tmp_path, {"a.png"}, [], overwrite=True)


def test_limits_leave_room_for_ten_thousand_photos() -> None:
    assert zips.MAX_MEMBERS >= 10_000
    assert {".jpg", ".jpeg", ".png", ".webp"} <= SUFFIXES


class TestNames:
    @pytest.mark.parametrize(
        ("given", "fit"),
        [
            ("a/b c.png", "a/b c.png"),
            ("Zoë 😀.jpg", "Zoë 😀.jpg"),
            ("caf\udce9.png", "caf\udce9.png"),  # a name that is not UTF-8, as Python spells it
            ("half \ud83d.png", "half _.png"),
            ("a\nb\x00\x07\x7f.png", "a_b___.png"),
            ("AUX.png", "_AUX.png"),
            ("con/nul.tar.png", "_con/_nul.tar.png"),
            ("console/auxiliary.png", "console/auxiliary.png"),
            ("dots.../space /a.png", "dots___/space_/a.png"),
            ("../a.png", "../a.png"),  # refused elsewhere, not made harmless here
            ("", "."),
        ],
    )
    def test_what_a_file_system_takes_stays_and_the_rest_is_made_so(self, given: str, fit: str) -> None:
        assert str(fitting(PurePosixPath(given))) == fit

    def test_long_names_are_cut_and_stay_apart(self) -> None:
        long = [f"{'f' * 300}{end}/{'ü' * 200}{end}.jpg" for end in "ab"]
        cut = [fitting(PurePosixPath(path)) for path in long]
        assert cut[0].parent != cut[1].parent
        assert cut[0].stem != cut[1].stem
        assert {path.suffix for path in cut} == {".jpg"}

    @settings(max_examples=100, deadline=None)
    @given(path=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), longer=st.integers(1, 300))
    def test_every_name_fits(self, path: list[str], longer: int) -> None:
        fit = fitting(PurePosixPath("/".join(part * longer for part in path)))
        if fit.name:
            fit = with_ending(fit, "-12.webp")
            assert all(len(os.fsencode(part)) <= PART_BYTES for part in fit.parts)
            assert len(os.fsencode(str(fit))) <= PATH_BYTES + PART_BYTES
            assert not any(ord(letter) < 32 for letter in str(fit))
