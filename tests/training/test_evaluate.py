"""What the evaluation measures and writes, on made-up pictures: no weights, no shared data, no network."""

import argparse
import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cartoon.faces.guide import CHANNELS, EYES, OVAL, TEMPLES
from cartoon.images.types import Face
from cartoon.models.layers import ALPHA, PLANES, SKIN
from cartoon.styles.card import StyleCard
from cartoon.styles.catalogue import available
from training import curves, evaluate, metrics, report, sections, studio

Pixels = NDArray[np.uint8]


def grey(value: int, side: int = 64) -> Pixels:
    return np.full((side, side, 3), value, np.uint8)


def mottled(side: int = 96, seed: int = 0) -> Pixels:
    """Soft blotches with hard edges between them, as in a drawing."""
    small = np.random.default_rng(seed).integers(20, 230, (side // 8, side // 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


def noisy(picture: Pixels, sigma: float) -> Pixels:
    noise = np.random.default_rng(1).normal(0, sigma, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def soft(picture: Pixels) -> Pixels:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 2.0), np.uint8)


def face(centre: tuple[float, float], width: float) -> NDArray[np.float32]:
    """Landmarks on an oval, cheeks and eyes inside it."""
    points = np.zeros((478, 2), np.float32)
    turn = np.linspace(0, 2 * np.pi, len(OVAL), endpoint=False)
    points[OVAL] = np.stack([0.5 * np.sin(turn), -0.68 * np.cos(turn)], 1)
    points[list(TEMPLES)] = [[-0.5, 0], [0.5, 0]]
    points[[50, 280]] = [[-0.25, 0.1], [0.25, 0.1]]
    for side, eye in zip((-1, 1), EYES, strict=True):
        points[eye[0]] = points[eye[1]] = [side * 0.2, -0.1]
    return points * np.float32(width) + np.array(centre, np.float32)


EVERYWHERE = np.ones((96, 96), bool)


def test_psnr_of_a_known_error() -> None:
    # 16 levels everywhere: 20 log10(255 / 16) = 24.048 dB
    assert metrics.psnr(grey(100), grey(116)) == pytest.approx(24.048, abs=1e-3)
    left = np.zeros((64, 64), bool)
    left[:, :32] = True
    half = grey(100)
    half[:, 32:] = 200
    assert metrics.psnr(grey(116), half, left) == pytest.approx(24.048, abs=1e-3)
    assert math.isnan(metrics.psnr(grey(100), grey(116), np.zeros((64, 64), bool)))


def test_distance_of_a_known_error() -> None:
    assert metrics.distance(grey(100), grey(90)) == 10


def test_ssim_is_one_for_equal_pictures_and_falls_with_noise() -> None:
    picture = mottled()
    assert metrics.ssim(picture, picture) == pytest.approx(1)
    worse = [metrics.ssim(picture, noisy(picture, sigma)) for sigma in (5, 15, 45)]
    assert 1 > worse[0] > worse[1] > worse[2] > 0
    # Flat pictures: only the luminance term is left, (2 ab + C1) / (a^2 + b^2 + C1) with C1 = 6.5025.
    assert metrics.ssim(grey(100), grey(150)) == pytest.approx((30000 + 6.5025) / (32500 + 6.5025), abs=1e-5)
    with pytest.raises(ValueError, match="smaller than the window"):
        metrics.ssim(grey(1, 8), grey(1, 8))


def test_gradient_of_a_ramp_is_its_slope() -> None:
    ramp = np.repeat(np.tile(np.arange(0, 192, 3, dtype=np.uint8), (64, 1))[..., None], 3, 2)
    assert metrics.gradient(ramp)[10:50, 10:50] == pytest.approx(3.0, abs=1e-3)


def test_blur_lowers_the_edge_ratio() -> None:
    picture = mottled()
    assert metrics.edge_ratio(picture, picture, EVERYWHERE) == pytest.approx(1)
    assert metrics.edge_ratio(soft(picture), picture, EVERYWHERE) < 0.9
    assert math.isnan(metrics.edge_ratio(picture, picture, ~EVERYWHERE))


def test_flat_skin_with_a_crisp_step_counts_as_flat() -> None:
    photo = noisy(grey(150, 96), 3)
    stepped = grey(150, 96)
    stepped[:, 48:] = 120
    assert metrics.flatness(photo, photo, EVERYWHERE) == pytest.approx(1)
    assert metrics.flatness(stepped, photo, EVERYWHERE) < 0.02


def test_lines_are_thin_and_dark() -> None:
    picture = grey(200, 100)
    picture[:, 40:42] = 20
    assert metrics.line_share(picture, 100) == pytest.approx(0.02)
    picture[:, 40:70] = 20  # an area
    assert metrics.line_share(picture, 100) == 0


def test_few_tones_are_few_levels() -> None:
    stepped = grey(150, 96)
    stepped[:, 48:] = 120
    assert metrics.level_count(stepped, EVERYWHERE) == 2
    assert metrics.level_count(noisy(grey(150, 96), 10), EVERYWHERE) > 15


def test_regions_leave_out_features_and_silhouette() -> None:
    stack = np.zeros((len(PLANES), 64, 64), np.float32)
    stack[SKIN], stack[ALPHA, :, 20:] = 1, 1
    stack[ALPHA, :, 19] = 0.5
    guide = np.zeros((len(CHANNELS), 64, 64), np.uint8)
    guide[CHANNELS.index("lips"), 30:34, 40:44] = 255
    features = metrics.feature_mask(guide)
    assert features.sum() == 10 * 10  # 4 px and 3 on either side
    skin = metrics.region_mask(stack, SKIN, features)
    assert not skin[32, 42]
    assert not skin[:, 17:22].any()
    assert skin[10, 30]


def test_likeness() -> None:
    points = face((48, 48), 50)
    assert metrics.landmark_shift(points, points + np.array([3, 4], np.float32)) == pytest.approx(10)
    assert metrics.cheek_lightness(grey(119, 96), points) == pytest.approx(50, abs=0.5)  # sRGB 119 is L* 50
    keys, values = (5.0, 1.0, 3.0, 2.0, 6.0, 4.0, 0.0), (50.0, 10.0, 30.0, 20.0, 60.0, 40.0, math.nan)
    assert metrics.outer_thirds(keys, values) == (15, 55)


def test_a_visible_border_raises_the_seam() -> None:
    points, picture = face((48, 48), 40), noisy(grey(128, 96), 4)
    clean = metrics.seam(picture, points, EVERYWHERE)
    assert clean == pytest.approx(1, abs=0.15)
    bordered = picture.copy()
    cv2.ellipse(bordered, (48, 48), (24, 33), 0, 0, 360, (160, 160, 160), 1)  # 1.2 half-axes out
    assert metrics.seam(bordered, points, EVERYWHERE) > 2 * clean


def pair() -> metrics.Pair:
    teacher, centre = mottled(), np.zeros((96, 96), bool)
    centre[30:60, 30:60] = True
    ours = teacher.copy()
    ours[30:60, 30:60] = soft(teacher)[30:60, 30:60]
    return metrics.Pair(noisy(teacher, 30), face((48, 48), 40), teacher, ours, centre, ~centre, ~EVERYWHERE)


def test_a_drawing_off_in_the_features_alone_says_so() -> None:
    found = metrics.closeness(pair())
    assert found["eyes and mouth, dB"] < found["PSNR, dB"] - 5
    assert found["edges, eyes and mouth"] < 0.9 < found["edges, skin"]
    assert found["the photo's, dB"] < found["PSNR, dB"]
    assert math.isnan(found["edges, hair"])
    assert {name.split(", ")[1] for name in metrics.flat_and_lined(pair())} == {"teacher", "ours"}


ROWS: list[report.Row] = [
    {"style": "anime", "photo": "ada", "dB": 20.0, "hair": math.nan},
    {"style": "comic", "photo": "ada", "dB": 30.0, "hair": math.nan},
    {"style": "anime", "photo": "bob", "dB": 25.0, "hair": 0.5},
]


def test_a_summary_averages_what_was_measured() -> None:
    anime, comic = report.summary(ROWS, "style")
    assert anime == {"style": "anime", "photos": 2, "dB": 22.5, "hair": 0.5}
    assert comic["photos"] == 1
    assert math.isnan(float(comic["hair"]))


def test_the_report_tells_all_figures_twice(tmp_path: Path) -> None:
    table = report.Table("Closeness", "A note.", report.summary(ROWS, "style"), ROWS, {"spread": 1.25})
    report.write_report(tmp_path, {"weights": "file.safetensors"}, {"teacher": table})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| style | photos | dB | hair |" in text
    assert "| anime | 2 | 22.5 | 0.500 |" in text
    assert "| comic | 1 | 30.0 | – |" in text
    assert "- spread: 1.25" in text
    told = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert told["weights"] == "file.safetensors"
    assert told["sections"]["teacher"]["rows"][1] == {"style": "comic", "photos": 1, "dB": 30.0, "hair": None}
    assert len(told["sections"]["teacher"]["each"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_a_tile_shows_the_face_unscaled_even_at_the_border() -> None:
    picture = mottled()
    tile = report.face_tile(picture, face((10, 48), 20), 60)
    assert tile.shape == (60, 60, 3)
    assert np.array_equal(tile[:, 20:], picture[18:78, 0:40])
    assert np.array_equal(tile[:, 0], picture[18:78, 0])


def test_a_sheet_holds_every_tile(tmp_path: Path) -> None:
    drawn = report.pair_sheet([pair()] * 3, across=2)
    deep = report.CAPTION + 2 * (report.TILE + report.GAP)
    assert drawn.shape == (deep, 2 * (3 * (report.TILE + report.GAP) + 2 * report.GAP), 3)
    report.write_sheet(tmp_path / "sheet.png", drawn)
    assert np.array_equal(np.asarray(cv2.imread(str(tmp_path / "sheet.png")))[..., ::-1], drawn)


class FakeStudio:
    """Draws the inverted photo, as much of it as asked for, but at full strength no more than `most`."""

    def __init__(self, out: Path, most: float) -> None:
        self.out, self.most = out, most
        cards = evaluate.cards_for(weights(out))
        self.cards = (cards["anime"], cards["comic"])

    def draw(self, pixels: Pixels, card: StyleCard, strength: float) -> Pixels:
        share = min(strength, self.most)
        return np.rint(pixels + share * (255.0 - 2.0 * pixels)).astype(np.uint8)


def weights(folder: Path) -> Path:
    path = folder / "fresh.safetensors"
    path.write_bytes(b"abc")
    return path


@pytest.mark.parametrize(("most", "rises", "ratio"), [(1.0, 1.0, 0.7), (0.8, 0.0, 0.875)])
def test_the_strength_curve_tells_where_it_stops_rising(
    tmp_path: Path, most: float, rises: float, ratio: float
) -> None:
    photo = studio.Subject(
        Path("ada.jpg"), grey(20), Face(np.zeros(4, np.float32), face((32, 32), 20), 1.0), np.ones((64, 64), np.float32)
    )
    table = sections.strength(FakeStudio(tmp_path, most), [photo])  # type: ignore[arg-type]
    assert [row["style"] for row in table.rows] == ["anime", "comic"]
    assert table.rows[0]["0.1"] == pytest.approx(21.5, abs=0.6)  # a tenth of 215
    assert table.rows[0]["rises"] == rises
    assert table.rows[0]["0.7 by 1.0"] == pytest.approx(ratio, abs=0.01)
    assert (tmp_path / "strength.png").exists()


def test_fresh_weights_get_a_card_for_each_painter(tmp_path: Path) -> None:
    cards = evaluate.cards_for(weights(tmp_path))
    assert {name: card.painter for name, card in cards.items()} == {card.id: card.painter for card in available()}
    assert {"anime", "comic", "watercolor", "sketch"} <= set(cards)
    assert cards["anime"].exaggeration > cards["comic"].exaggeration > 0
    assert {card.path for card in cards.values()} == {tmp_path / "fresh.safetensors"}
    # FIPS 180-4's own example: SHA-256 of "abc"
    assert cards["anime"].sha256.startswith("ba7816bf8f01cfea")


def test_only_held_out_prepared_and_asked_for_photos_are_taken(tmp_path: Path) -> None:
    for name in ("ada", "bob", "cyd", "dan"):
        (tmp_path / f"{name}.jpg").write_bytes(b"")
    for name in ("ada", "bob", "cyd"):
        (tmp_path / f"{name}.npz").write_bytes(b"")
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"held_out": ["bob", "cyd", "dan"]}), encoding="utf-8")

    def names(**asked: Path | str) -> list[str]:
        given = {"photos": [tmp_path], "plan": None, "only": None, "prepared": None} | asked
        return [path.stem for path in evaluate.chosen(argparse.Namespace(**given))]

    assert names() == ["ada", "bob", "cyd", "dan"]
    assert names(plan=plan) == ["bob", "cyd", "dan"]
    assert names(plan=plan, prepared=tmp_path) == ["bob", "cyd"]
    assert names(plan=plan, only="cyd,ada") == ["cyd"]


def log_of(folder: Path, rows: int) -> Path:
    path = folder / "log.csv"
    lines = [f"{50 * i},{15 * i}.0,{1 / i:.5f},{0.5 / i:.5f}" for i in range(1, rows + 1)]
    path.write_text("\n".join(["step,seconds,colour,lines", *lines, "9999,1"]), encoding="utf-8")  # the last cut short
    return path


def test_curves_are_drawn_from_a_log(tmp_path: Path) -> None:
    read = curves.read_log(log_of(tmp_path, 30))
    assert list(read) == ["step", "seconds", "colour", "lines"]
    assert read["step"][-1] == 1500
    out = tmp_path / "curves.png"
    curves.plot(read, out)
    drawn = np.asarray(cv2.imread(str(out)))
    assert drawn.shape[0] > 300
    assert drawn.std() > 5  # there is something on the paper


def test_a_resumed_run_replaces_what_it_did_again(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    rows = ("50,10,0.9", "100,20,0.8", "150,30,0.7", "100,22,0.01", "150,32,0.6", "200,42,0.5")
    path.write_text("\n".join(["step,seconds,colour", *rows]), encoding="utf-8")
    read = curves.read_log(path)
    assert read["step"].tolist() == [50, 150, 200]
    assert read["colour"].tolist() == [0.9, 0.6, 0.5]  # 0.01 is the mean of a few steps counted as of fifty


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    for text in ("", "step,seconds,colour\n", "name,value\na,1\n"):
        path = tmp_path / "log.csv"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="holds no steps"):
            curves.read_log(path)


def test_the_running_median_ignores_a_spike() -> None:
    values = np.ones(20)
    values[10] = 100
    assert np.array_equal(curves.running_median(values, 5), np.ones(20))
