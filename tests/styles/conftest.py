"""A bad server, and a network that reaches it alone."""

import ssl
import threading
from collections.abc import Iterator

import pytest

from cartoon.styles.download import Network
from tests.styles.bad_server import BadServer, Pauses


@pytest.fixture
def server() -> Iterator[BadServer]:
    with BadServer() as bad:
        thread = threading.Thread(target=bad.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield bad
        bad.over.set()
        bad.shutdown()
        thread.join()


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def network(server: BadServer, pauses: Pauses) -> Network:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the usual certificates take 0.1 s to read
    # Not less: on a busy machine an answer takes a while.
    return Network(local=server.place, trust=nobody, pause=pauses, stall_s=10.0)


@pytest.fixture
def url(server: BadServer) -> str:
    return f"http://{server.place}/files/a.pb?key=secret"
