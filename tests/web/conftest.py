"""Servers that several files of tests ask, and who asks them."""

from collections.abc import Iterator

import httpx
import pytest

from tests.serving import Served, client, nobody, running


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with running(tmp_path_factory.mktemp("home")) as server:
        yield server
    told = server.log.read_text()
    assert "Traceback" not in told  # what clients do wrong is a line at most
    lines = ("a call of the page failed: ", "Invalid HTTP request received.")
    assert all(line.startswith(lines) for line in told.splitlines()), told
    assert "secret" not in told


@pytest.fixture(scope="module")
def visitor(served: Served) -> Iterator[httpx.Client]:
    """Ann, with her cookie."""
    with client(served.url) as sending:
        sending.get("/")
        yield sending


@pytest.fixture(scope="module")
def stranger(served: Served) -> Iterator[httpx.Client]:
    """Bob, with his."""
    with client(served.url) as sending:
        sending.get("/")
        yield sending


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    """Whoever has no cookie and keeps none."""
    with nobody() as sending:
        yield sending


@pytest.fixture(scope="package")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server in a Space, that is allowed two more names and asks for keys over REST; the page itself is open."""
    names = {"CARTOON_ALLOWED_HOSTS": "cartoon.example, shop.example:8443", "CARTOON_API_KEYS": "key-one,key-two"}
    space = {"SPACE_ID": "ann/cartoon", "SPACE_HOST": "ann-cartoon.hf.space"}
    with running(tmp_path_factory.mktemp("elsewhere"), None, **names, **space) as server:
        yield server
