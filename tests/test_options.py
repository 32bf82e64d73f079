"""One table of options: what it says of each holds behind every door, and Options are checked by it."""

import json
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import pytest
import typer
from typer.testing import CliRunner

from cartoon.cli import commands
from cartoon.errors import OptionsError
from cartoon.jobs.model import Entry, Item, Order, differences
from cartoon.jobs.store import manifest
from cartoon.options import FIELDS, Field, Options, Value
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.web.page.option_fields import PAGE_FIELDS, PLAIN_COLOUR, asked_for, values_of
from cartoon.web.photo import options_from
from tests.fakes import CARDS
from tests.serving import running


def another(row: Field) -> Value:
    """A value that is not the default."""
    if row.kind == "choice":
        return row.values[-1]
    named: dict[str, Value] = {"style": "comic", "size": 777, "colour": "#3366cc"}
    return named.get(row.kind) or row.checked(row.high if row.default == row.low else row.low)


OTHER = Options(**{row.name: another(row) for row in FIELDS})  # type: ignore[arg-type]
each = pytest.mark.parametrize("row", FIELDS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a server says of itself: its page, gradio_client's parameters, REST's forms."""
    with running(tmp_path_factory.mktemp("home")) as served:
        addresses = ("config", "gradio_api/info", "openapi.json")
        return {address: httpx.get(served.url + address).json() for address in addresses}


# The table itself.


def test_there_is_a_row_for_every_field_of_options_and_its_default_is_a_value_of_it() -> None:
    assert [row.name for row in FIELDS] == [field.name for field in fields(Options)]
    assert [row.default for row in FIELDS] == [field.default for field in fields(Options)]
    for row in FIELDS:
        assert row.checked(row.default) == row.default == getattr(Options(), row.name)
        assert getattr(OTHER, row.name) != row.default
        assert row.title
        assert row.help.endswith(".")


def test_the_helps_tell_the_ranges_and_choices_that_hold() -> None:
    for row in FIELDS:
        if row.low != row.high:
            low, high = f"{row.low:g}", f"{row.high:g}"
            assert row.help.index(low) < row.help.index(high)
            for beyond in (row.low - 0.1, row.high + 1):
                with pytest.raises(OptionsError, match=row.name):
                    row.checked(beyond)
            assert (row.checked(row.low), row.checked(row.high)) == (row.low, row.high)
        for value in row.values:
            assert row.checked(value) == value
            assert str(value) in row.help
        for number in row.offered:
            assert row.checked(number) == number


@each
def test_whether_an_option_tells_two_pictures_apart_is_the_tables_word(row: Field) -> None:
    changed = replace(Options(format="jpg"), **{row.name: getattr(OTHER, row.name)})
    assert row.affects_picture
    assert row.tells(Options(format="jpg"), changed)
    assert not row.tells(changed, changed)
    assert not replace(row, affects_picture=False).tells(Options(), changed)
    assert [other.name for other in FIELDS if other.tells(Options(format="jpg"), changed)] == [row.name]


def test_jobs_are_told_apart_by_the_table_and_quality_does_nothing_to_png() -> None:
    one = Order("0" * 32, ("in",), Path("/out"), Options(), "m", "0", 1.0)
    for row in FIELDS:
        other = replace(one, options=replace(Options(), **{row.name: getattr(OTHER, row.name)}))
        told = differences(one, other)
        assert len(told) == (row.name != "quality")
        assert all(line.startswith(row.name) for line in told)
    jpg, better = Options(format="jpg"), Options(format="jpg", quality=99)
    assert differences(replace(one, options=jpg), replace(one, options=better)) == ["quality 95, now 99"]


@pytest.mark.parametrize("number", [10**400, "1" + "0" * 400])
def test_a_number_beyond_all_numbers_is_a_sentence_too(number: object) -> None:
    with pytest.raises(OptionsError, match="size must be a whole number"):
        Options(size=number)  # type: ignore[arg-type]


def test_a_picture_that_its_format_cannot_hold_is_refused_where_it_is_asked_for(tmp_path: Path) -> None:
    asked = {"size": "4096", "upscale": 4, "format": "webp"}
    with pytest.raises(OptionsError, match=r"format webp cannot hold size 4096 enlarged 4 times.*choose png"):
        Options.asked(asked)
    for held in ({"format": "png"}, {"format": "jpg"}, {"format": "keep"}, {"size": 4095}, {"upscale": 2}):
        assert Options.asked({**asked, **held}) == Options(**{**asked, **held})  # type: ignore[arg-type]
    assert Options.asked({**asked, "size": "original"}).size == "original"  # the photo's size will tell
    order = Order("0" * 32, ("in",), tmp_path, Options(size=4096, upscale=4, format="webp"), "m", "0", 1.0)
    manifest.write(tmp_path, order, [])
    assert manifest.read_order(tmp_path).order == order  # an earlier job is still read


# The doors.


@each
@pytest.mark.parametrize("command", ["run", "watch"])
def test_a_command_has_it_as_a_flag(command: str, row: Field) -> None:
    (flag,) = [one for one in flags_of(command) if one.name == row.name]
    assert flag.opts == [row.flag]
    assert str(flag.default) == str(row.default)
    assert flag.help.startswith(row.help)
    shown = " ".join(CliRunner().invoke(commands.app, [command, "--help"]).stdout.split())
    assert f" {row.flag} " in shown
    assert f"{flag.help} [default: {row.default}]" in shown


def flags_of(command: str) -> list[Any]:
    group: Any = typer.main.get_command(commands.app)
    return list(group.commands[command].params)


def test_python_has_the_same_defaults() -> None:
    for call in (Cartoonizer.__call__, Cartoonizer.batch):
        given = {name: one.default for name, one in signature(call).parameters.items() if one.kind is one.KEYWORD_ONLY}
        assert given == {row.name: row.default for row in FIELDS if row.name in given}
        assert len(given) > 5


@each
def test_both_tabs_of_the_page_have_it(told: dict[str, Any], row: Field) -> None:
    found = [part["props"] for part in told["config"]["components"] if part["props"].get("label") == row.title]
    assert len(found) == 2
    for part in found:
        assert (part["value"], part["info"]) == (row.default, row.help)
        if row.kind in ("real", "whole"):
            assert (part["minimum"], part["maximum"]) == (row.low, row.high)
        elif row.kind != "style":
            offered = [value for _, value in part["choices"] if value != PLAIN_COLOUR]
            assert offered == [*row.offered, *row.values]


@each
@pytest.mark.parametrize("call", ["/cartoonize", "/cartoonize_batch"])
def test_gradio_client_has_it_as_a_parameter(told: dict[str, Any], call: str, row: Field) -> None:
    parameters = told["gradio_api/info"]["named_endpoints"][call]["parameters"]
    (parameter,) = [one for one in parameters if one["parameter_name"] == row.name]
    assert parameter["parameter_has_default"]
    assert str(parameter["parameter_default"]) == str(row.default)
    assert row.help in parameter["label"]


def test_gradio_clients_positions_are_what_they_were_and_what_is_new_comes_last(told: dict[str, Any]) -> None:
    for call, first in (("/cartoonize", "image"), ("/cartoonize_batch", "files")):
        names = [one["parameter_name"] for one in told["gradio_api/info"]["named_endpoints"][call]["parameters"]]
        assert names[:8] == [first, *"style strength exaggeration size background format quality".split()]
        assert names[8:] == [row.name for row in FIELDS if row.name not in names[:8]]


@each
@pytest.mark.parametrize(("address", "files"), [("/api/v1/cartoonize", "image"), ("/api/v1/jobs", "files")])
def test_rest_describes_it(told: dict[str, Any], address: str, files: str, row: Field) -> None:
    body = told["openapi.json"]["paths"][address]["post"]["requestBody"]
    form = body["content"]["multipart/form-data"]["schema"]
    assert form["required"] == [files]
    described = form["properties"][row.name]
    assert (described["default"], described["description"]) == (row.default, row.help)
    for value in row.values:
        assert json.dumps(value) in json.dumps(described)


def test_rest_and_the_page_take_every_option_by_its_name() -> None:
    asked = {row.name: str(getattr(OTHER, row.name)) for row in FIELDS}
    assert options_from(asked, CARDS) == OTHER
    with pytest.raises(OptionsError, match=", ".join(row.name for row in FIELDS)):
        options_from({"colour": "red"}, CARDS)


def test_a_manifest_gives_every_option_back(tmp_path: Path) -> None:
    order = Order("0" * 32, ("in",), tmp_path, OTHER, "m", "0", 1.0)
    manifest.write(tmp_path, order, [Entry(0, Item(Path("a.png"), PurePosixPath("a.png")), PurePosixPath("a.png"))])
    assert manifest.read_order(tmp_path).order == order


@each
def test_a_manifest_from_before_an_option_means_its_default(tmp_path: Path, row: Field) -> None:
    order = Order("0" * 32, ("in",), tmp_path, OTHER, "m", "0", 1.0)
    manifest.write(tmp_path, order, [])
    told = json.loads((tmp_path / manifest.MANIFEST).read_text())
    del told["options"][row.name], told["sum"], told["items"]
    (tmp_path / manifest.MANIFEST).write_text(json.dumps(told))
    assert manifest.read_order(tmp_path).order.options == replace(OTHER, **{row.name: row.default})  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [Options(), OTHER, Options(size="original", background="transparent")], ids=str)
def test_use_these_options_again_gives_every_option_back(options: Options) -> None:
    values = values_of(options, CARDS)
    assert len(values) == len(PAGE_FIELDS)
    shown = [
        "#7cc6fe" if name == "colour" and not isinstance(value, str) else value
        for name, value in zip(PAGE_FIELDS, values, strict=True)
    ]
    assert options_from(asked_for(shown), CARDS) == options


def test_a_style_that_is_not_on_offer_any_more_leaves_the_pages_as_it_is() -> None:
    values = values_of(replace(OTHER, style="gone"), CARDS)
    assert not isinstance(values[PAGE_FIELDS.index("style")], str)
