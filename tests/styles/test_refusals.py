"""What a download refuses: other bytes, more bytes, web pages, and what is no file at all."""

from pathlib import Path

import pytest

from cartoon.errors import ResourceError, StyleError
from cartoon.styles.download import Network, fetch
from tests.styles.bad_server import (
    BODY,
    DIGEST,
    OTHER,
    Answer,
    BadServer,
    Handler,
    endless,
    left,
    says,
    whole,
)


def test_wrong_bytes_are_thrown_away(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    (tmp_path / "a.pb").write_bytes(b"the old one")
    server.answers = [whole(OTHER)]
    with pytest.raises(StyleError, match=r"^a\.pb from 127\.0\.0\.1 is not the file that is expected"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert len(server.seen) == 1
    assert left(tmp_path) == {"a.pb"}
    assert (tmp_path / "a.pb").read_bytes() == b"the old one"


def test_a_length_that_is_too_large_never_ends_in_a_file(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [whole(length=len(BODY) + 10)]
    with pytest.raises(ResourceError, match=r"^a\.pb could not be fetched"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert not (tmp_path / "a.pb").exists()


def test_a_length_that_is_too_small_is_caught_by_the_digest(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [whole(length=len(BODY) - 10)]
    with pytest.raises(StyleError, match="sha256 differs"):
        fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert left(tmp_path) == set()


def test_a_body_without_an_end_of_its_own_is_refused_while_the_file_is_unknown(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    def unmeasured(to: Handler) -> None:
        to.head(200)
        to.wfile.write(BODY)

    server.answers = [unmeasured]
    with pytest.raises(StyleError, match="does not say how long"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()
    assert fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network).read_bytes() == BODY


@pytest.mark.parametrize("answer", [endless, whole(b"x" * 300_000), whole(b"x" * 300_000, length=300_000_000)])
def test_more_than_the_limit_is_refused_while_it_comes(
    tmp_path: Path, url: str, network: Network, server: BadServer, answer: Answer
) -> None:
    server.answers = [answer]
    with pytest.raises(StyleError, match=r"^a\.pb has more than the 0\.2 MB"):
        fetch(url, tmp_path / "a.pb", limit=200_000, network=network)
    assert left(tmp_path) == set()
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (says(200, b"<!DOCTYPE html><p>log in", Content_Type="text/html; charset=utf-8"), "web page"),
        (says(200, b'{"Code": 10010205001}', Content_Type="application/json"), "web page"),
        (says(200, b"\n <HTML>log in", Content_Type="application/octet-stream"), "web page"),
        (says(200, b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n"), "web page"),
        (says(200, b"\x1f\x8b\x08 packed", Content_Encoding="gzip"), "comes packed"),
        (says(404, b"no"), "answers with 404"),
        (says(403), "answers with 403"),
        (says(204), "answers with 204"),
        (says(304), "answers with 304"),
        (says(300, Location="/other"), "answers with 300"),
        (says(301), "answers with 301"),
    ],
)
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, url: str, network: Network, server: BadServer, answer: Answer, words: str
) -> None:
    server.answers = [answer]
    with pytest.raises(StyleError, match=rf"^a\.pb .*{words}.*--from DIR\.$"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()
    assert len(server.seen) == 1


def test_nothing_is_no_file(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [says(200)]
    with pytest.raises(ResourceError, match="nothing came"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()


def test_no_answer_that_is_not_http_gets_through(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def other(to: Handler) -> None:
        to.wfile.write(b"SSH-2.0-OpenSSH_9\r\n")

    server.answers = [other]
    with pytest.raises(ResourceError, match="the connection broke"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == set()
