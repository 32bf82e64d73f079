"""What is counted, and log lines: right numbers, bounded labels, and what cannot be measured hides nothing else."""

import sys
import threading
from collections.abc import Mapping

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cartoon.errors import ResourceError, StyleError
from cartoon.memory import Ticket
from cartoon.pipeline.batcher import Batcher
from cartoon.pipeline.capacity import Capacity
from cartoon.pipeline.cartoonizer import Cartoonizer
from cartoon.styles.catalogue import available
from cartoon.telemetry import metrics
from tests.fakes import CARDS
from tests.pipeline.test_batcher import PLENTY, FakeNet, Held, canvas
from tests.waiting import PATIENCE, wait_for

Numbers = dict[str, float]


def numbers() -> Numbers:
    """Every sample by its name and labels, as they stand in the text: `name{label=value}`."""
    text, _ = metrics.exposition()
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def risen(before: Numbers, name: str) -> float:
    return numbers().get(name, 0) - before.get(name, 0)


def test_the_styles_counted_by_name_are_the_shipped_ones() -> None:
    assert tuple(card.id for card in available()) == metrics.STYLES


def test_a_style_of_somebodys_own_is_counted_without_its_name() -> None:
    before = numbers()
    metrics.photo_done("grandmas-secret-style", {"render": 0.5})
    metrics.photo_failed("/home/anna/wool.safetensors", "bad_style")
    assert risen(before, "cartoon_photos_total{outcome=done,style=other}") == 1
    assert risen(before, "cartoon_photos_total{outcome=bad_style,style=other}") == 1
    assert risen(before, "cartoon_step_seconds_sum{step=render}") == pytest.approx(0.5)
    assert "grandma" not in str(numbers())
    assert "anna" not in str(numbers())


@pytest.mark.parametrize(
    ("problem", "outcome"), [(ResourceError("full"), "no_resources"), (RuntimeError("a bug"), "internal")]
)
def test_a_photo_is_under_way_until_it_ends_however_it_ends(problem: Exception, outcome: str) -> None:
    def draw() -> None:
        assert metrics.photos_under_way() == 1
        raise problem

    before = numbers()
    with pytest.raises(type(problem)), metrics.photo_under_way("sketch"):
        draw()
    assert metrics.photos_under_way() == 0
    assert risen(before, f"cartoon_photos_total{{outcome={outcome},style=sketch}}") == 1
    assert risen(before, "cartoon_photo_seconds_count{}") == 0  # only drawings are timed


def test_passes_and_waiting_canvases_are_counted() -> None:
    before = numbers()
    held = Held()
    batcher = Batcher([FakeNet(held)], Capacity("cuda", "fp32", lambda: PLENTY))
    threads = []

    def ask(count: int) -> None:
        canvases = [canvas(value) for value in range(count)]
        threads.append(threading.Thread(target=batcher.draw, args=(CARDS[0], canvases, Ticket())))
        threads[-1].start()

    ask(1)
    held.entered.wait(PATIENCE)
    ask(3)
    wait_for(lambda: risen(before, "cartoon_canvases_waiting{}") == 3)
    held.go.set()
    for thread in threads:
        thread.join(PATIENCE)
    batcher.close()
    assert risen(before, "cartoon_canvases_waiting{}") == 0
    assert risen(before, "cartoon_pass_pictures_count{}") == 2
    assert risen(before, "cartoon_pass_pictures_sum{}") == 4
    assert risen(before, "cartoon_pass_pictures_bucket{le=1.0}") == 1


def test_what_a_closed_batcher_leaves_undrawn_does_not_wait_for_ever() -> None:
    before = numbers()
    held = Held()
    batcher = Batcher([FakeNet(held)], Capacity("cpu", "fp32", lambda: PLENTY))
    refused: list[ResourceError] = []

    def ask() -> None:
        try:
            batcher.draw(CARDS[0], [canvas(1)], Ticket())
        except ResourceError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    held.entered.wait(PATIENCE)
    threads[1].start()
    wait_for(lambda: risen(before, "cartoon_canvases_waiting{}") == 1)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    wait_for(lambda: len(refused) == 1)
    held.go.set()
    for thread in (*threads, closing):
        thread.join(PATIENCE)
    assert risen(before, "cartoon_canvases_waiting{}") == 0


def test_the_real_pipeline_reports_its_photos_and_not_its_warming() -> None:
    toon = Cartoonizer.load(device="cpu")
    before = numbers()
    toon.warm()
    assert risen(before, "cartoon_photos_total{outcome=done,style=anime}") == 0
    photo = np.random.default_rng(1).integers(0, 255, (64, 48, 3), np.uint8)
    drawn = toon(photo, style="comic", size=64)
    with pytest.raises(StyleError):
        toon(photo, style="oils")
    toon.close()
    assert risen(before, "cartoon_photos_total{outcome=done,style=comic}") == 1
    assert risen(before, "cartoon_photos_total{outcome=bad_style,style=other}") == 1
    assert risen(before, "cartoon_photo_seconds_count{}") == 1
    for step, seconds in drawn.seconds.items():
        assert risen(before, f"cartoon_step_seconds_count{{step={step}}}") == 1
        assert risen(before, f"cartoon_step_seconds_sum{{step={step}}}") == pytest.approx(seconds)
    assert numbers()["cartoon_memory_bytes{device=cpu,state=free}"] > 1 << 20
    if sys.platform == "linux":
        assert numbers()["process_resident_memory_bytes{}"] > 1 << 20


def test_jobs_are_counted_when_somebody_looks_and_what_fails_hides_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    jobs = {"running": 1, "done": 4}

    def locked() -> Mapping[str, int]:
        raise OSError("/home/anna/journal is locked")

    try:
        metrics.watch_jobs(lambda: jobs)
        assert numbers()["cartoon_jobs{state=running}"] == 1
        jobs["running"] = 2
        assert numbers()["cartoon_jobs{state=running}"] == 2
        metrics.watch_jobs(locked)
        assert not any(name.startswith("cartoon_jobs") for name in numbers())
        assert "anna" not in caplog.text
        assert "not measured: OSError" in caplog.text
    finally:
        metrics.watch_jobs(dict)


def test_doubts_are_counted_by_their_word() -> None:
    before = numbers()
    metrics.quality_flagged("no_face")
    assert risen(before, "cartoon_quality_flags_total{flag=no_face}") == 1
