"""Where a download may lead: to no other place than the one that was checked."""

import shutil
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from cartoon.errors import ResourceError, StyleError
from cartoon.styles.address import is_public
from cartoon.styles.download import Network, fetch
from tests.styles.bad_server import BODY, BadServer, Handler, Pauses, left, says, whole
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/passwd", "not https"),
        ("ftp://example.org/a", "not https"),
        ("http://127.0.0.1:1/a", "not https"),
        ("http://example.org/a", "not https"),
        ("//example.org/a", "not https"),
        ("https://127.0.0.1/a", "inside a network"),
        ("https://10.1.2.3/a", "inside a network"),
        ("https://[::1]/a", "inside a network"),
        ("https://[::ffff:192.168.0.1]/a", "inside a network"),
        ("https://0/a", "inside a network"),
        ("https://2130706433/a", "inside a network"),
        ("https://0x7f.1/a", "inside a network"),
        ("https://169.254.169.254/latest/meta-data", "inside a network"),
        ("https://intranet/a", "inside a network"),
    ],
)
def test_redirects_lead_nowhere_else(
    tmp_path: Path, url: str, network: Network, server: BadServer, location: str, words: str
) -> None:
    resolving = network.resolve
    network = replace(network, resolve=lambda host, port: ["10.0.0.8"] if host == "intranet" else resolving(host, port))
    server.answers = [says(302, Location=location)]
    with pytest.raises(StyleError, match=words) as refused:
        fetch(url, tmp_path / "a.pb", network=network)
    assert "secret" not in str(refused.value)
    assert left(tmp_path) == set()


def test_redirects_are_followed_and_end(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    server.answers = [says(302, Location="/b?c"), says(307, Location=f"http://{server.place}/d"), whole()]
    assert fetch(url, tmp_path / "a.pb", network=network).read_bytes() == BODY
    server.answers = [says(302, Location="/b")]
    with pytest.raises(StyleError, match="from one address to the next"):
        fetch(url, tmp_path / "a.pb", network=network)


def test_the_body_of_a_redirect_is_not_read(tmp_path: Path, url: str, network: Network, server: BadServer) -> None:
    def away(to: Handler) -> None:
        to.head(302, Location="/b", Transfer_Encoding="chunked")
        server.outwaited += not server.over.wait(PATIENCE)  # and no end of it

    server.answers = [away, whole()]
    assert fetch(url, tmp_path / "a.pb", network=network).read_bytes() == BODY
    assert not server.outwaited


@pytest.mark.parametrize(
    "bad", ["http://example.org/a", "file:///etc/passwd", "ftp://example.org/a", "a.pb", "https:///a"]
)
def test_only_https_is_asked(tmp_path: Path, pauses: Pauses, bad: str) -> None:
    with pytest.raises(StyleError):
        fetch(bad, tmp_path / "a.pb", network=Network(pause=pauses))
    assert left(tmp_path) == set()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:220:1::1", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("192.0.2.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::1", False),
        ("2002:7f00:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("2001:db8::1", False),
        ("no address", False),
    ],
)
def test_public_addresses(address: str, public: bool) -> None:
    assert is_public(address) == public


def test_one_bad_address_among_good_ones_is_enough(tmp_path: Path, pauses: Pauses) -> None:
    network = Network(resolve=lambda host, port: ["93.184.215.14", "10.0.0.1"], pause=pauses)
    with pytest.raises(StyleError, match=r"^hub\.test is not fetched from"):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=network)


def test_a_name_is_resolved_once_a_connection_and_the_checked_address_is_the_one_connected_to(
    tmp_path: Path, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when asked first and loopback when asked again (DNS rebinding)."""
    asked: list[str] = []
    connected: list[tuple[str, str]] = []

    def turning(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14"] if len(asked) % 2 else ["127.0.0.1"]

    def connect(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        connected.append((request.url.host, request.headers["Host"]))
        assert request.extensions["sni_hostname"] == "hub.test"
        raise httpx.ReadError("broken")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", connect)
    with pytest.raises(StyleError, match="inside a network"):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=Network(resolve=turning, pause=pauses))
    assert connected == [("93.184.215.14", "hub.test")]
    assert asked == ["hub.test", "hub.test"]


def test_without_a_network_the_way_out_is_named_at_once(tmp_path: Path, pauses: Pauses) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(
        ResourceError,
        match=r"^a\.pb was not fetched, there is no connection to hub\.test: connect, or give the files with --from",
    ):
        fetch("https://hub.test/a", tmp_path / "a.pb", network=Network(resolve=unknown, pause=pauses))
    assert pauses.asked == []
    assert left(tmp_path) == set()


def test_nobody_there_is_no_connection(tmp_path: Path, server: BadServer, pauses: Pauses) -> None:
    place = server.place
    server.server_close()
    with pytest.raises(ResourceError, match="there is no connection to 127"):
        fetch(f"http://{place}/a", tmp_path / "a.pb", network=Network(local=place, pause=pauses))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1's name hub.test, signed by itself, with its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    path = tmp_path_factory.mktemp("tls") / "hub.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=hub.test -addext subjectAltName=DNS:hub.test"
    subprocess.run([*command.split(), "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


def test_https_proves_the_name_although_the_address_is_connected_to(
    tmp_path: Path, server: BadServer, pauses: Pauses, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    server.socket = serving.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    monkeypatch.setattr("cartoon.styles.address.is_public", lambda address: address == "127.0.0.1")
    trust = ssl.create_default_context(cafile=str(certificate))
    network = Network(resolve=lambda host, port: ["127.0.0.1"], pause=pauses, trust=trust, stall_s=5)
    at = f"https://hub.test:{server.server_port}/a"
    assert fetch(at, tmp_path / "a.pb", network=network).read_bytes() == BODY
    assert server.seen[0]["host"] == f"hub.test:{server.server_port}"
    for untrusted, name in ((network, "other.test"), (replace(network, trust=None), "hub.test")):
        with pytest.raises(StyleError, match=rf"^{name} does not prove that it is {name}"):
            fetch(at.replace("hub.test", name), tmp_path / "b.pb", network=untrusted)
    assert left(tmp_path) == {"a.pb"}
