"""Downloads of model files, from a server on this machine that does everything a server should not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cartoon.errors import BusyError, OutputError, ResourceError, StorageError
from cartoon.styles import part as parts
from cartoon.styles.download import RETRIES, Broken, Network, fetch, wait_before
from tests.styles.bad_server import (
    BODY,
    DIGEST,
    OTHER,
    BadServer,
    Handler,
    Pauses,
    cut,
    drips,
    left,
    says,
    stalls,
    whole,
)

# What goes well in the end.


def test_a_file_is_fetched_and_nothing_else_is_left(tmp_path: Path, url: str, network: Network) -> None:
    told: list[tuple[int, int | None]] = []
    into = tmp_path / "deep" / "a.pb"
    assert fetch(url, into, sha256=DIGEST, watch=lambda *now: told.append(now), network=network) == into
    assert into.read_bytes() == BODY
    assert left(into.parent) == {"a.pb"}
    assert told[0] == (0, len(BODY))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_gone_on_with(
    tmp_path: Path, url: str, network: Network, server: BadServer, pauses: Pauses, digest: str | None, ranges: bool
) -> None:
    server.answers = [cut(100_000), whole(ranges=ranges)]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert server.seen[1]["range"].startswith("bytes=")
    assert server.seen[1]["if-range"] == '"one"'
    assert pauses.asked == [1]


def test_a_later_run_goes_on(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000)]
    with pytest.raises(ResourceError, match=r"^a\.pb .*run the command again to go on from 0\.1 MB"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == {".a.pb.part", ".a.pb.part.json"}
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert server.seen[-1]["range"] == "bytes=100000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert left(tmp_path) == {"a.pb"}


def test_what_is_not_sure_to_be_on_the_disk_is_fetched_again(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [cut(100_000)]
    with pytest.raises(ResourceError):
        fetch(url, tmp_path / "a.pb", network=network)
    with (tmp_path / ".a.pb.part").open("ab") as file:  # as a power cut leaves it: longer than was noted
        file.write(bytes(50_000))
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert server.seen[-1]["range"] == "bytes=100000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"bytes": 7}', '{"bytes": "x", "url": 1}', '{"bytes": 1e9}'])
def test_a_part_without_a_good_note_is_not_trusted(
    tmp_path: Path, url: str, network: Network, server: BadServer, note: str
) -> None:
    (tmp_path / ".a.pb.part").write_bytes(OTHER[:5000])
    (tmp_path / ".a.pb.part.json").write_text(note)
    fetch(url, tmp_path / "a.pb", network=network)
    assert "range" not in server.seen[0]
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_the_part_of_another_address_is_not_used(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000, OTHER)]
    with pytest.raises(ResourceError):
        fetch(url + "2", tmp_path / "a.pb", network=network)
    server.answers = [whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert "range" not in server.seen[-1]
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_file_that_changes_between_tries_is_never_mixed(
    tmp_path: Path, url: str, network: Network, server: BadServer, digest: str | None
) -> None:
    server.answers = [cut(100_000, OTHER, '"old"'), whole(etag='"new"')]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("digest", [None, DIGEST])
def test_a_server_that_goes_on_with_another_file_is_seen_through(
    tmp_path: Path, url: str, network: Network, server: BadServer, digest: str | None
) -> None:
    """It ignores If-Range, so that its answer alone looks like the rest of what was asked for."""

    def rest(to: Handler) -> None:
        at = int(to.headers["Range"].removeprefix("bytes=").rstrip("-"))
        span = f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"
        to.head(206, ETag='"new"', Content_Length=len(BODY) - at, Content_Range=span)
        to.wfile.write(BODY[at:])

    server.answers = [cut(100_000, OTHER, '"old"'), rest, whole(etag='"new"')]
    fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_without_a_validator_only_a_known_file_is_gone_on_with(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    for digest, ranged in ((None, False), (DIGEST, True)):
        server.answers, server.seen = [cut(100_000, etag="")], []
        with pytest.raises(ResourceError):
            fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
        server.answers, server.seen = [whole()], []
        fetch(url, tmp_path / "a.pb", sha256=digest, network=network)
        assert ("range" in server.seen[0]) == ranged
        assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_wrong_part_under_a_known_file_costs_one_more_try(
    tmp_path: Path, url: str, network: Network, server: BadServer
) -> None:
    server.answers = [cut(100_000, OTHER, etag=""), whole()]
    fetch(url, tmp_path / "a.pb", sha256=DIGEST, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY
    assert len(server.seen) == 3


def test_a_range_that_does_not_fit_is_given_up(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [cut(100_000), says(416), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_stall_is_given_up_and_gone_on_with(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [stalls(server), whole()]
    fetch(url, tmp_path / "a.pb", network=replace(network, stall_s=1.0))
    assert not server.outwaited
    assert server.seen[1]["range"] == "bytes=1000-"
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_server_that_drips_is_given_up(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [drips(0.02), whole()]
    fetch(url, tmp_path / "a.pb", network=replace(network, stall_s=1.0))
    assert len(server.seen) == 2  # the first would have taken an hour
    assert (tmp_path / "a.pb").read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_troubles_are_waited_for(
    tmp_path: Path, url: str, network: Network, server: BadServer, pauses: Pauses, status: int
) -> None:
    server.answers = [says(status), says(status, Retry_After=7), whole()]
    fetch(url, tmp_path / "a.pb", network=network)
    assert pauses.asked == [1, 7]
    server.answers = [says(status)]
    with pytest.raises(ResourceError, match=rf"^a\.pb could not .*{status}.*--from DIR\.$"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert len(server.seen) == 3 + 1 + RETRIES
    assert left(tmp_path) == {"a.pb"}


def test_waits_grow_and_end() -> None:
    assert [wait_before(attempt, Broken("x")) for attempt in range(5)] == [1, 2, 4, None, None]
    assert wait_before(0, Broken("x", asked=1e9)) == 30
    assert wait_before(0, Broken("x", offline=True)) is None
    assert wait_before(1, Broken("x", offline=True)) == 2


# The disk.


def test_a_stop_in_the_middle_keeps_what_came(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def stop(done: int, total: int | None) -> None:
        if done > 50_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "a.pb", watch=stop, network=network)
    assert not (tmp_path / "a.pb").exists()
    noted = json.loads((tmp_path / ".a.pb.part.json").read_text())["bytes"]
    assert 50_000 < noted <= len(BODY)
    assert (tmp_path / ".a.pb.part").read_bytes() == BODY[:noted]
    fetch(url, tmp_path / "a.pb", network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_two_at_once_are_kept_apart(tmp_path: Path, url: str, network: Network) -> None:
    def second(done: int, total: int | None) -> None:
        with pytest.raises(BusyError, match=r"^a\.pb is being fetched"):
            fetch(url, tmp_path / "a.pb", network=network)

    fetch(url, tmp_path / "a.pb", sha256=DIGEST, watch=second, network=network)
    assert (tmp_path / "a.pb").read_bytes() == BODY


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_said(
    tmp_path: Path, url: str, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"^a\.pb cannot be written"):
        fetch(url, tmp_path / "file" / "a.pb", network=network)

    def full(self: parts.Part, block: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parts.Part, "add", full)
    with pytest.raises(StorageError, match=r"^a\.pb does not fit on the disk"):
        fetch(url, tmp_path / "a.pb", network=network)
    assert left(tmp_path) == {"file"}
