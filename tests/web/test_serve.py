"""The process that serves: wrong addresses and settings end it at once, with one sentence and exit code 2; signals
drain it."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import httpx
import numpy as np
import pytest

from cartoon.images.encode import encode
from cartoon.jobs.model import Item, Order
from cartoon.jobs.store.folder import begin
from cartoon.jobs.store.home import new_id
from cartoon.options import Options
from cartoon.web.serve import GRACE_SECONDS, INSIST_SECONDS, SETTLE_SECONDS
from tests import ROOT
from tests.fake_server import HELD, LET_GO
from tests.fakes import CARDS
from tests.serving import client as client_of
from tests.serving import ended, running
from tests.waiting import PATIENCE, wait_for

PICTURE = encode(np.full((30, 40, 3), 90, np.uint8), None, "png")
POST = "/api/v1/cartoonize"


@dataclass(frozen=True, eq=False)
class Serving:
    """A server in a process of its own."""

    process: "subprocess.Popen[str]"
    home: Path
    client: httpx.Client

    def post(self, name: str) -> httpx.Response:
        """A small photo of that name, to be drawn."""
        return self.client.post(POST, files={"image": (name, PICTURE)}, data={"size": "64"})

    def is_deaf(self) -> bool:
        """Whether nobody can connect any more."""
        try:
            socket.create_connection((self.client.base_url.host, self.client.base_url.port or 0), timeout=60).close()
        except ConnectionRefusedError:
            return True
        return False

    def hold(self, pool: ThreadPoolExecutor) -> "Future[httpx.Response]":
        """A request that is being drawn until it is let go."""
        asked = pool.submit(self.post, HELD)
        wait_for((self.home / HELD).exists)
        return asked


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    with served(tmp_path) as serving:
        yield serving


@contextmanager
def served(home: Path, *settle_seconds: str) -> Iterator[Serving]:
    command = [sys.executable, "-m", "tests.fake_server", str(home), *settle_seconds]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        try:
            with client_of(url) as client:
                client.get("/healthz")
                yield Serving(process, home, client)
        finally:
            process.kill()


def test_a_port_in_use_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = ended(tmp_path, "--port", port)
    assert refused.code == 2
    assert refused.told == (
        f"error: Cannot serve on 127.0.0.1 port {port} (Address already in use): "
        "stop what uses it or give another --port.\n"
    )


def test_a_second_server_over_the_same_folder_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with running(tmp_path):
        refused = ended(tmp_path, "--port", "0", "--device", "cuda:9", CARTOON_DATA_DIR=str(tmp_path))  # not loaded
    assert refused.code == 2
    assert refused.told == (
        f"error: Another server has its jobs in {tmp_path}: stop it, or set CARTOON_DATA_DIR to another folder.\n"
    )


@pytest.mark.parametrize(
    ("flags", "variables", "told"),
    [
        (["--host", "no.such.host.invalid"], {}, "no.such.host.invalid"),
        (["--port", "99999"], {}, "99999"),
        (["--port", "many"], {}, "--port"),
        (["--precision", "int3"], {}, "fp16"),
        ([], {"CARTOON_PRECISION": "int3"}, "precision"),
    ],
)
def test_a_wrong_flag_or_setting_is_named(
    tmp_path: Path, flags: list[str], variables: dict[str, str], told: str
) -> None:
    refused = ended(tmp_path, *flags, **variables)
    assert refused.code == 2
    assert told in refused.told
    assert "Traceback" not in refused.told


def test_who_is_served_gets_the_picture_while_others_are_sent_elsewhere(serving: Serving) -> None:
    assert serving.client.get("/readyz").json() == {"status": "ready"}
    with ThreadPoolExecutor(1) as pool:
        asked = serving.hold(pool)
        serving.process.send_signal(signal.SIGTERM)
        wait_for(lambda: serving.client.get("/readyz").status_code == 503)
        for refused in (serving.client.get("/readyz"), serving.post("anna.png"), serving.client.post("/api/v1/jobs")):
            assert (refused.status_code, refused.json()["error"]) == (503, "draining")
            assert refused.json()["message"].endswith(".")
            assert int(refused.headers["retry-after"]) > 0
            assert "content-security-policy" in refused.headers
        assert serving.client.get("/healthz").status_code == 200
        assert serving.process.poll() is None
        (serving.home / LET_GO).touch()
        assert asked.result().status_code == 200
    assert serving.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_what_takes_longer_than_the_settling_is_still_answered(serving: Serving) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = serving.hold(pool)
        serving.process.send_signal(signal.SIGTERM)
        wait_for(serving.is_deaf)
        (serving.home / LET_GO).touch()
        assert asked.result().status_code == 200
    assert serving.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_stops_at_once(tmp_path: Path, wish: signal.Signals) -> None:
    """One that would give others an hour to go elsewhere: nobody waits for that."""
    with served(tmp_path, "3600") as serving:
        serving.process.send_signal(wish)
        assert serving.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("wish", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_whatever_is_under_way(serving: Serving, wish: signal.Signals) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = serving.hold(pool)
        serving.process.send_signal(wish)
        serving.process.send_signal(wish)  # as a process group's make passes it on: the same wish
        with pytest.raises(subprocess.TimeoutExpired):
            serving.process.wait(INSIST_SECONDS + 0.2)
        # Again until it ends: a busy machine may have it hear the first one only now.
        wait_for(lambda: _insisted(serving.process, wish))
        assert serving.process.returncode == 128 + wish
        assert isinstance(asked.exception(), httpx.TransportError)


def _insisted(process: "subprocess.Popen[str]", wish: signal.Signals) -> bool:
    """Asks once more; whether that ended it."""
    process.send_signal(wish)
    try:
        process.wait(INSIST_SECONDS + 0.2)
    except subprocess.TimeoutExpired:
        return False
    return True


@pytest.mark.slow
def test_a_second_signal_ends_it_when_it_has_closed_the_port_too(serving: Serving) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = serving.hold(pool)
        serving.process.send_signal(signal.SIGTERM)
        wait_for(serving.is_deaf)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(2) == 128 + signal.SIGTERM
        assert isinstance(asked.exception(), httpx.TransportError)


@pytest.mark.slow
def test_what_never_ends_is_cut_off_within_ten_seconds(serving: Serving) -> None:
    assert SETTLE_SECONDS + GRACE_SECONDS < 10  # Docker's patience; a busy machine takes more of everything
    with ThreadPoolExecutor(1) as pool:
        asked = serving.hold(pool)
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(PATIENCE) == 0
        assert (asked.result().status_code, asked.result().json()["error"]) == (503, "draining")


@pytest.mark.slow
def test_hundreds_of_jobs_end_and_go_on(tmp_path: Path) -> None:
    for _ in range(314):
        id = new_id()
        folder = tmp_path / "jobs" / id
        (folder / "inputs").mkdir(parents=True)
        (folder / "results").mkdir()
        items = [Item(folder / "inputs" / f"{n}", PurePosixPath(f"slow-{n}.png")) for n in range(4)]
        for number, item in enumerate(items):
            item.source.write_bytes(PICTURE + bytes(number))
        begin(folder, Order(id, (), folder / "results", Options(size=64), CARDS[0].sha256, "0", 1.0), items).close()
    command = [sys.executable, "-m", "tests.fake_server", str(tmp_path)]
    for _ in range(2):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            httpx.get(f"{url}/healthz", timeout=60)
            wait_for(lambda: 'state="running"} 8.0' in httpx.get(f"{url}/metrics", timeout=60).text)  # noqa: B023
            assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 100
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
