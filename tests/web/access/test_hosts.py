"""Names and origins, case by case; and what a start says about who can come in."""

from typing import TYPE_CHECKING, TypedDict

import pytest

from cartoon.settings import Settings
from cartoon.web.access.hosts import Hosts, is_loopback
from cartoon.web.serve import exposure

if TYPE_CHECKING:
    from typing_extensions import Unpack

OWN = "localhost:7860"


class Told(TypedDict, total=False):
    """Headers, with _ for -."""

    host: str
    origin: str
    sec_fetch_site: str
    sec_fetch_mode: str
    sec_fetch_dest: str


def refusal(method: str = "GET", listed: tuple[str, ...] = (), framed: bool = False, **headers: "Unpack[Told]") -> str:
    told = {"host": OWN, **{name.replace("_", "-"): str(value) for name, value in headers.items()}}
    return Hosts(listed, framed).refusal(method, "http", told)


@pytest.mark.parametrize(
    "host",
    [OWN, "LOCALHOST", "localhost.", "app.localhost:1", "127.0.0.1", "127.9.9.9:80", "[::1]:7860", "10.0.0.8:7860"],
)
def test_loopback_names_and_addresses_are_its_own(host: str) -> None:
    assert refusal(host=host) == ""


@pytest.mark.parametrize(
    "host",
    [
        "",
        " ",
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.example",
        "1270.0.1",
        "0x7f.1",
        "user@localhost",
        "localhost/evil",
        "localhost,evil.example",
        "localhost:port",
        "[::1",
        "évil.example",
        "localhost:7860:7860",
    ],
)
def test_any_other_name_is_not(host: str) -> None:
    assert refusal(host=host) != ""


def test_what_everybody_may_know_is_told_under_any_name_but_not_to_other_sites() -> None:
    def probed(**headers: str) -> str:
        return Hosts(()).refusal("GET", "http", headers, any_name=True)

    assert probed(host="cartoon.default.svc.cluster.local:7860") == probed() == ""
    assert probed(host="cartoon.svc", origin="https://evil.example") != ""
    assert (
        Hosts(()).refusal("GET", "http", {"host": "cartoon.svc", "sec-fetch-site": "cross-site"}, any_name=True) != ""
    )


def test_the_refusal_says_what_to_do_and_repeats_no_markup() -> None:
    told = refusal(host="<b>evil.example")
    assert "--allowed-host" in told
    assert "<" not in told


@pytest.mark.parametrize(
    ("host", "origin", "listed", "welcome"),
    [
        (OWN, "http://localhost:7860", (), True),
        (OWN, "http://LOCALHOST:7860", (), True),
        (OWN, "http://localhost:7861", (), False),
        (OWN, "http://localhost", (), False),
        (OWN, "http://127.0.0.1:7860", (), False),
        (OWN, "null", (), False),
        (OWN, "", (), False),
        (OWN, "file://", (), False),
        (OWN, "http://localhost:7860.evil.example", (), False),
        (OWN, "http://localhost:99999", (), False),
        ("127.0.0.1", "http://127.0.0.1", (), True),
        ("127.0.0.1", "https://127.0.0.1", (), True),  # a proxy ended TLS
        ("127.0.0.1", "http://127.0.0.1:8080", (), False),
        (OWN, "https://toon.example", ("toon.example",), True),
        (OWN, "https://toon.example:8443", ("toon.example",), False),
        (OWN, "https://toon.example:8443", ("toon.example:8443",), True),
        (OWN, "https://toon.example.evil.example", ("toon.example",), False),
    ],
)
def test_only_pages_of_its_own_may_send(host: str, origin: str, listed: tuple[str, ...], welcome: bool) -> None:
    assert (refusal("POST", listed, host=host, origin=origin) == "") is welcome


@pytest.mark.parametrize(
    ("method", "headers", "framed", "welcome"),
    [
        ("GET", {"sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}, False, True),
        ("GET", {"sec_fetch_site": "none", "sec_fetch_mode": "navigate"}, False, True),
        (
            "GET",
            {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
            False,
            True,
        ),
        (
            "POST",
            {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"},
            False,
            False,
        ),
        ("GET", {"sec_fetch_site": "same-site", "sec_fetch_mode": "cors"}, False, False),
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"}, False, False),
        (
            "GET",
            {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
            False,
            False,
        ),
        ("GET", {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"}, True, True),
    ],
)
def test_what_the_browser_says_about_the_sender_counts(method: str, headers: Told, framed: bool, welcome: bool) -> None:
    assert (refusal(method, framed=framed, **headers) == "") is welcome


@pytest.mark.parametrize(
    ("host", "given", "told"),
    [
        ("127.0.0.1", {}, ""),
        ("localhost", {}, ""),
        ("::1", {}, ""),
        ("0.0.0.0", {}, "CARTOON_API_KEYS"),
        ("192.168.1.5", {}, "CARTOON_PASSWORD"),
        ("::", {"api_keys": "key"}, "the page without a password"),
        ("0.0.0.0", {"password": "x"}, ""),
        ("0.0.0.0", {"password": "x", "api_keys": "key"}, ""),
    ],
)
def test_the_start_says_who_can_use_it(host: str, given: dict[str, str], told: str) -> None:
    said = exposure(Settings.model_validate({"host": host, **given}), 7860)
    assert told in said
    assert bool(told) == bool(said)
    assert "\n" not in said


def test_loopback_is_told_from_the_rest() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "example.org")))
