"""Jobs on a Ray cluster: the same results and the same report as here, whatever dies meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from cartoon import __version__
from cartoon.errors import OptionsError, ResourceError
from cartoon.images.decode import read
from cartoon.images.encode import encode
from cartoon.jobs import report
from cartoon.jobs.executors.base import Executor, WorkerSpec
from cartoon.jobs.executors.local import ThreadExecutor
from cartoon.jobs.executors.process import ProcessExecutor
from cartoon.jobs.executors.ray import RayExecutor
from cartoon.jobs.executors.ray_nodes import Placement, connected, not_opened, placements, runtime_env
from cartoon.jobs.model import Attempt, Order
from cartoon.jobs.runner import run
from cartoon.jobs.store.folder import open_order
from cartoon.jobs.store.home import new_id
from cartoon.jobs.store.open_job import OpenJob
from cartoon.options import Options
from cartoon.settings import Settings
from tests import ROOT
from tests.cluster_stylizer import POISON, load_mortal
from tests.waiting import wait_for

STORE_BYTES = 100 << 20
# Ray leaves sockets and log files of processes it has ended to the garbage collector.
quietly = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 8,
}
"""A node that is gone is missed after seconds rather than half a minute."""


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray's files in a folder of their own, so that no cluster of somebody else's on this machine is joined.

    Short, as Ray's sockets lie there too. HOME: where Ray puts the token of a cluster that it starts.
    """
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        for name in ("RAY_TMPDIR", "HOME"):
            monkeypatch.setenv(name, folder)
        # Read when Ray is imported: it does not report home, and listens to this machine alone.
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        yield


@pytest.fixture
def cluster(apart: None) -> Iterator[Any]:
    """A head that only directs, and two nodes of two cores, all on this machine."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: requirements-cluster.txt")
    before = signal.getsignal(signal.SIGTERM)
    head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False, "_system_config": HEALTH}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        yield cluster
    finally:
        import ray

        ray.shutdown()
        cluster.shutdown()
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def pids(tmp_path: Path) -> Path:
    """Where stylizers leave a file for their process, with a line for each photo they begin."""
    folder = tmp_path / "pids"
    folder.mkdir()
    return folder


def photos(folder: Path, count: int, poison: int | None = None) -> Path:
    """Small photos of noise, in two folders; one of them may kill."""
    rng = np.random.default_rng(0)
    for number in range(count):
        name = f"{'ab'[number % 2]}/{number:03d}{f'-{POISON}' if number == poison else ''}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encode(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8), None, "png"))
    return folder


def begun(given: Path, out: Path) -> OpenJob:
    return open_order(Order(new_id(), (str(given),), out, Options(size=64), "model", __version__, time.time()))


def on_cpus(cluster: Any, pids: Path) -> RayExecutor:
    return RayExecutor(WorkerSpec(load_mortal, Settings(styles_dir=pids, device="cpu"), cluster=cluster.address))


def drawn(job: OpenJob, executor: Executor, on_each: Callable[[int], None] = lambda count: None) -> list[Attempt]:
    attempts = []
    for attempt in run(job, executor):
        attempts.append(attempt)
        on_each(len(attempts))
    return attempts


def told(job: OpenJob) -> list[dict[str, Any]]:
    """The report without what differs from run to run."""
    rows = report.rows(job.entries, job.state.settled)
    return [{key: value for key, value in asdict(row).items() if key not in ("seconds", "tries")} for row in rows]


def assert_exactly_once(job: OpenJob) -> None:
    """One final line in the journal for each item, and each picture whole, as recorded, and nothing beside them."""
    lines = [json.loads(line) for line in (job.folder / "journal.jsonl").read_text().splitlines()]
    assert Counter(line["item"] for line in lines if line["event"] == "attempt") == Counter(range(len(job.entries)))
    pictures = {attempt.output for attempt in job.state.settled.values() if attempt.output}
    found = {path for path in job.order.out.rglob("*") if path.is_file() and ".cartoon" not in path.parts}
    assert found == pictures
    for attempt in job.state.settled.values():
        if attempt.output:
            assert read(attempt.output).pixels.shape == (48, 64, 3)
            assert attempt.output.stat().st_size == attempt.size


def busy(pids: Path) -> list[int]:
    """Living stylizers that have drawn something."""
    return [int(mark.name) for mark in pids.iterdir() if mark.stat().st_size and Path(f"/proc/{mark.name}").exists()]


@quietly
@pytest.mark.slow
def test_a_killed_worker_a_lost_node_and_a_poison_photo_cost_one_photo(
    cluster: Any, pids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.jobs.executors.ray.VANISH_SECONDS", 5.0)
    given = photos(tmp_path / "photos", 200, poison=120)
    settings = Settings(styles_dir=pids, device="cpu")

    def trouble(count: int) -> None:
        if count == 30:
            os.kill(busy(pids)[0], signal.SIGKILL)
        if count == 70:
            cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

    with closing(begun(given, tmp_path / "out")) as job:
        with closing(RayExecutor(WorkerSpec(load_mortal, settings, cluster=cluster.address))) as executor:
            attempts = drawn(job, executor, trouble)
        assert Counter(attempt.outcome for attempt in attempts) == {"done": 199, "quarantined": 1}
        assert [a.item.name for a in attempts if a.outcome == "quarantined"] == [f"a/120-{POISON}.png"]
        lines = [json.loads(line) for line in (job.folder / "journal.jsonl").read_text().splitlines()]
        assert {line["alone"] for line in lines if line["event"] == "crashed"} == {True, False}
        with (
            closing(begun(given, tmp_path / "local")) as local,
            closing(ProcessExecutor(WorkerSpec(load_mortal, settings))) as worker,
        ):
            drawn(local, worker)
            assert told(job) == told(local)
            for row in told(job):
                if row["picture"]:
                    ours, theirs = tmp_path / "out" / row["picture"], tmp_path / "local" / row["picture"]
                    assert ours.read_bytes() == theirs.read_bytes()
    assert_exactly_once(job)


@quietly
@pytest.mark.slow
def test_a_node_that_joins_gets_work_and_a_job_goes_on_when_its_only_node_is_replaced(
    cluster: Any, pids: Path, tmp_path: Path
) -> None:
    given = photos(tmp_path / "photos", 160)
    first, second = cluster.list_all_nodes()[1:]
    cluster.remove_node(second)
    stylizers: list[set[str]] = []

    def change(count: int) -> None:
        if count == 20:
            stylizers.append({mark.name for mark in pids.iterdir()})
            alone = executor.slots
            cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
            wait_for(lambda: executor.slots > alone, 120, "the node that joined has no stylizer")
        if count == 100:
            stylizers.append({mark.name for mark in pids.iterdir() if mark.stat().st_size})
            cluster.remove_node(first)

    with (
        closing(begun(given, tmp_path / "out")) as job,
        closing(on_cpus(cluster, pids)) as executor,
    ):
        assert Counter(attempt.outcome for attempt in drawn(job, executor, change)) == {"done": 160}
    assert_exactly_once(job)
    before, after = stylizers
    assert len(before) == 1
    assert len(after) == 2, "the node that joined drew nothing"


@quietly
@pytest.mark.slow
def test_a_job_without_any_node_left_ends_and_can_go_on(
    cluster: Any, pids: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cartoon.jobs.executors.ray.LOST_SECONDS", 1.0)
    given = photos(tmp_path / "photos", 100)

    def leave(count: int) -> None:
        if count == 20:
            for node in cluster.list_all_nodes()[1:]:
                cluster.remove_node(node)

    with closing(begun(given, tmp_path / "out")) as job:
        nodes = on_cpus(cluster, pids)
        with closing(nodes), pytest.raises(ResourceError, match="run the same command again"):
            drawn(job, nodes, leave)
        assert job.counts.done >= 20
        assert job.counts.remaining == 100 - job.counts.done, "no photo failed for want of a node"
    with (
        closing(begun(given, tmp_path / "out")) as job,
        closing(ThreadExecutor(WorkerSpec(load_mortal, Settings(styles_dir=pids)))) as executor,
    ):
        drawn(job, executor)
    assert_exactly_once(job)


@quietly
@pytest.mark.slow
def test_ctrl_c_leaves_a_job_that_the_same_command_without_a_cluster_goes_on_with(
    apart: None, pids: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: requirements-cluster.txt")
    given = photos(tmp_path / "photos", 60, poison=2)
    program = (
        "from cartoon.cli.commands import app; from tests.cluster_stylizer import load_mortal; app(obj=load_mortal)"
    )
    command = [sys.executable, "-c", program, "run", str(given), "-o", str(tmp_path / "out"), "--size", "64", "--json"]
    environment = {**os.environ, "CARTOON_STYLES_DIR": str(pids), "CARTOON_DEVICE": "cpu"}

    def started(*more: str) -> "subprocess.Popen[str]":
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [*command, *more], cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    with started("--cluster", "auto") as process:
        assert process.stdout is not None
        seen = [json.loads(process.stdout.readline()) for _ in range(10)]
        os.killpg(process.pid, signal.SIGINT)
        rest, errors = process.communicate(timeout=180)
    seen += [json.loads(line) for line in rest.splitlines()]  # and nothing but JSON is on stdout
    assert process.returncode == 130, errors
    assert seen[-1]["interrupted"]
    assert 0 < seen[-1]["remaining"] < 60
    drawn_before = sum(mark.read_text().count("\n") for mark in pids.iterdir())
    assert drawn_before >= seen[-1]["done"]
    with started() as process:
        again, errors = process.communicate(timeout=180)
    assert process.returncode == 1, errors  # for the quarantined photo
    last = json.loads(again.splitlines()[-1])
    assert (last["failed"], last["remaining"]) == (1, 0)  # convicted by either command, as its last try comes last
    assert last["done"] + last["failed"] - seen[-1]["failed"] == seen[-1]["remaining"]


@quietly
@pytest.mark.slow
def test_the_real_stylizer_draws_on_a_cluster_what_it_draws_here(apart: None, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: requirements-cluster.txt")
    examples = [str(path) for path in sorted((ROOT / "assets" / "examples").glob("*.jpg"))[:4]]
    for out, more in (("ray", ["--cluster", "auto"]), ("here", [])):
        command = [sys.executable, "-m", "cartoon", "run", *examples, "--size", "128", "--device", "cpu"]
        done = subprocess.run(
            [*command, "-o", str(tmp_path / out), *more], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    names = sorted(path.name for path in (tmp_path / "here").glob("*.png"))
    assert len(names) == 4
    for name in names:
        ours, theirs = (read(tmp_path / out / name).pixels.astype(int) for out in ("ray", "here"))
        # The same network on the same processor, though batches of other sizes round differently in bf16.
        assert abs(ours - theirs).mean() < 1.0


def test_without_ray_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(OptionsError, match=r"pip install -r requirements-cluster\.txt"):
        connected("auto")


@quietly
@pytest.mark.slow
def test_an_address_where_nobody_listens_is_refused(apart: None) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: requirements-cluster.txt")
    with pytest.raises(OptionsError, match="no Ray cluster answers there"):
        connected("127.0.0.1:9")
    with pytest.raises(OptionsError, match="give auto, host:port"):
        connected("somewhere")


@quietly
@pytest.mark.slow
def test_a_stylizer_that_cannot_be_loaded_is_told_at_once(cluster: Any) -> None:
    with pytest.raises(ResourceError, match="no weights today"):
        RayExecutor(WorkerSpec(load_nothing, Settings(device="cpu"), cluster=cluster.address))


def test_an_actor_that_did_not_open_died_of_memory_unless_its_node_has_no_package() -> None:
    quoted = (
        "The actor with name RayWorker failed to import on the worker.\nModuleNotFoundError: No module named 'cartoon'"
    )
    assert "no Cartoon: install version" in str(not_opened(RuntimeError(quoted)))
    assert "enough free memory" in str(not_opened(RuntimeError("The actor died unexpectedly.")))
    assert "enough free memory" in str(not_opened(None))


def load_nothing(settings: Settings) -> Any:
    raise ResourceError("no weights today.")


def test_nodes_look_for_a_checkout_and_need_nothing_where_the_package_is_installed() -> None:
    assert runtime_env(Path("/srv/cartoon")) == {"env_vars": {"PYTHONPATH": "${PYTHONPATH}:/srv/cartoon"}}
    assert runtime_env(None) == {}


def node(name: str, cpu: float = 0, gpu: float = 0) -> dict[str, Any]:
    return {"NodeID": name, "Resources": {key: value for key, value in (("CPU", cpu), ("GPU", gpu)) if value}}


@pytest.mark.parametrize(
    ("nodes", "device", "wanted"),
    [
        (
            [node("b", 4), node("a", 2)],
            "auto",
            [Placement("a", 0, False, 2), Placement("b", 0, False, 2), Placement("b", 1, False, 2)],
        ),
        ([node("a", 1), node("head", 0)], "auto", [Placement("a", 0, False, 1)]),
        ([node("a", 5)], "cpu", [Placement("a", 0, False, 2), Placement("a", 1, False, 2)]),
        ([node("g", 16, 2), node("a", 8)], "auto", [Placement("g", 0, True, 8), Placement("g", 1, True, 8)]),
        ([node("g", 4, 2)], "cpu", [Placement("g", 0, False, 2), Placement("g", 1, False, 2)]),
        ([node("a", 8)], "cuda", []),
        ([], "auto", []),
    ],
)
def test_places_for_stylizers(nodes: list[dict[str, Any]], device: str, wanted: list[Placement]) -> None:
    assert placements(nodes, device, cores=2) == wanted
