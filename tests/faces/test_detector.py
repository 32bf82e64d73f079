"""Faces and the person mask: found at every size and turn, none where there is none, the same every time."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from cartoon.errors import ResourceError, StyleError
from cartoon.faces import mediapipe
from cartoon.faces.candidates import FULL, SHORT, Array, Candidate, Tile, cluster, inside, iou, tiles
from cartoon.faces.detector import LONGEST, MediaPipeDetector
from cartoon.faces.mesh import misfit
from cartoon.faces.segmentation import LONGEST as MASK_LONGEST
from cartoon.faces.segmentation import PersonMask
from cartoon.faces.upright import aligned_crop
from cartoon.images.types import Face, Pixels
from tests import ROOT, golden_faces
from tests.waiting import PATIENCE
from training import face_models

EXAMPLES = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
RIGHT_PUPIL, LEFT_PUPIL, NOSE_TIP, MOUTH, CHIN, FOREHEAD = 468, 473, 1, 13, 152, 10
GREEN = (40, 200, 60)


@pytest.fixture(scope="module")
def detector() -> Iterator[MediaPipeDetector]:
    made = MediaPipeDetector(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def person() -> Iterator[PersonMask]:
    made = PersonMask(2)
    yield made
    made.close()


@pytest.fixture(scope="module")
def portraits() -> list[Pixels]:
    assert len(EXAMPLES) == 8
    return [golden_faces.read(path) for path in EXAMPLES]


@pytest.fixture(scope="module")
def known(detector: MediaPipeDetector, portraits: list[Pixels]) -> list[Face]:
    """The one face of each example."""
    found = [detector.detect(portrait) for portrait in portraits]
    assert [len(faces) for faces in found] == [1] * len(portraits)
    return [faces[0] for faces in found]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    """Colour noise of several scales, as a backdrop that is not flat."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 130, np.float32)
    for cell, amount in ((200, 30), (25, 12), (3, 8)):
        grain = rng.normal(0, amount, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def same(a: tuple[Face, ...], b: tuple[Face, ...]) -> bool:
    return len(a) == len(b) and all(
        np.array_equal(x.box, y.box) and np.array_equal(x.landmarks, y.landmarks) and x.score == y.score
        for x, y in zip(a, b, strict=True)
    )


def eye_distance(face: Face) -> float:
    return float(np.linalg.norm(face.landmarks[LEFT_PUPIL] - face.landmarks[RIGHT_PUPIL]))


def turned(portrait: Pixels, degrees: float) -> Pixels:
    height, width = portrait.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 0.75)
    return cv2.warpAffine(portrait, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE).astype(np.uint8)


def test_landmarks_lie_where_a_face_has_them(known: list[Face]) -> None:
    for face in known:
        assert face.box.shape == (4,)
        assert face.box.dtype == np.float32
        assert face.landmarks.shape == (478, 2)
        assert face.landmarks.dtype == np.float32
        assert 0.5 <= face.score <= 1
        x0, y0, x1, y1 = face.box
        points = face.landmarks
        # MediaPipe's box goes from brow to chin: the mesh reaches beyond it, not far, and the features are inside.
        margin = 0.35 * (x1 - x0)
        assert (points > (x0 - margin, y0 - margin)).all()
        assert (points < (x1 + margin, y1 + margin)).all()
        for feature in (RIGHT_PUPIL, LEFT_PUPIL, NOSE_TIP, MOUTH):
            assert x0 < points[feature, 0] < x1
            assert y0 < points[feature, 1] < y1
        # The person's right eye is on the picture's left; features follow each other downwards.
        assert points[RIGHT_PUPIL, 0] < points[NOSE_TIP, 0] < points[LEFT_PUPIL, 0]
        eyes = points[[RIGHT_PUPIL, LEFT_PUPIL], 1].mean()
        assert points[FOREHEAD, 1] < eyes < points[NOSE_TIP, 1] < points[MOUTH, 1] < points[CHIN, 1]


def test_pupils_lie_on_dark_pupils(portraits: list[Pixels], known: list[Face]) -> None:
    for portrait, face in zip(portraits, known, strict=True):
        grey = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY).astype(np.float32)
        cheek = face.landmarks[[50, 280]]
        for eye in face.landmarks[[RIGHT_PUPIL, LEFT_PUPIL]]:
            assert around(grey, eye) < 0.75 * max(around(grey, point) for point in cheek)


def around(grey: np.ndarray, point: Array, reach: int = 2) -> float:
    x, y = (int(v) for v in point)
    return float(grey[y - reach : y + reach + 1, x - reach : x + reach + 1].mean())


def test_same_pixels_same_faces_whatever_came_between(detector: MediaPipeDetector, portraits: list[Pixels]) -> None:
    kept = portraits[0].copy()
    first = detector.detect(portraits[0])
    detector.detect(noise(300, 400))
    detector.detect(portraits[1])
    assert same(detector.detect(portraits[0]), first)
    another = MediaPipeDetector()
    assert same(another.detect(portraits[0]), first)
    another.close()
    assert np.array_equal(portraits[0], kept)  # the argument is not drawn on


def test_many_threads_get_what_one_gets(detector: MediaPipeDetector, portraits: list[Pixels]) -> None:
    alone = [detector.detect(portrait) for portrait in portraits[:4]]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detector.detect, portraits[:4] * 2))
    assert all(same(a, b) for a, b in zip(alone * 2, together, strict=True))


def test_group_from_32_px_up_is_found_whole_and_in_order(
    detector: MediaPipeDetector, portraits: list[Pixels], known: list[Face]
) -> None:
    picture = noise(1200, 1700)
    truth: list[tuple[Array, Array]] = []
    sizes = np.geomspace(32, 180, 12)
    for place, size in enumerate(np.random.default_rng(1).permutation(sizes)):
        portrait, face = portraits[place % 8], known[place % 8]
        scale = size / float(face.box[2] - face.box[0])
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:395, :420]
        x, y = (place % 4) * 425, (place // 4) * 400
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small
        exact = np.array([round(portrait.shape[1] * scale), round(portrait.shape[0] * scale)])
        exact = exact / (portrait.shape[1], portrait.shape[0])
        box = face.box * np.tile(exact, 2) + (x, y, x, y)
        truth.append((box.astype(np.float32), (face.landmarks * exact + (x, y)).astype(np.float32)))
    found = detector.detect(picture)
    assert len(found) == len(truth)
    assert [float(f.box[0]) for f in found] == sorted(float(f.box[0]) for f in found)
    for box, landmarks in truth:
        face = max(found, key=lambda f: iou(f.box, box))
        assert iou(face.box, box) > 0.6
        # Measured over 57 people: 0.029 of the eye distance at 32 px, worst person 0.05; half a pixel's error is 0.04.
        error = np.linalg.norm(face.landmarks - landmarks, axis=1).mean() / eye_distance(face)
        assert error < 0.08


def test_no_face_in_noise_ramps_stripes_or_flat_colour(detector: MediaPipeDetector) -> None:
    ramp = np.tile(np.linspace(0, 255, 900, dtype=np.uint8)[None, :, None], (700, 1, 3))
    stripes = np.where(np.indices((700, 900)).sum(0)[..., None] // 30 % 2, (180, 30, 40), (240, 240, 240))
    for picture in (noise(700, 900, 3), ramp, stripes.astype(np.uint8), np.full((1400, 1300, 3), 90, np.uint8)):
        assert detector.detect(picture) == ()


@pytest.mark.parametrize("shape", [(1, 1), (15, 400), (16, 16), (64, 3000), (2000, 20)])
def test_tiny_and_thin_pictures_are_searched_without_harm(
    detector: MediaPipeDetector, person: PersonMask, shape: tuple[int, int]
) -> None:
    picture = noise(*shape)
    assert detector.detect(picture) == ()
    assert person.matte(picture, ()).shape == shape


@pytest.mark.parametrize("degrees", [-45, -30, 30, 90, 180])
def test_turned_faces_are_found_with_eyes_in_place(
    detector: MediaPipeDetector, portraits: list[Pixels], known: list[Face], degrees: int
) -> None:
    for portrait, face in list(zip(portraits, known, strict=True))[:3]:
        (found,) = detector.detect(turned(portrait, degrees))
        matrix = cv2.getRotationMatrix2D((portrait.shape[1] / 2, portrait.shape[0] / 2), degrees, 0.75)
        expected = face.landmarks[[RIGHT_PUPIL, LEFT_PUPIL, MOUTH]] @ matrix[:, :2].T + matrix[:, 2]
        error = np.linalg.norm(found.landmarks[[RIGHT_PUPIL, LEFT_PUPIL, MOUTH]] - expected, axis=1).max()
        assert error < 0.12 * eye_distance(found)


@pytest.mark.parametrize("enlarge", [0.5, 4])
def test_face_filling_the_picture_is_found(
    detector: MediaPipeDetector, portraits: list[Pixels], known: list[Face], enlarge: float
) -> None:
    for portrait, face in list(zip(portraits, known, strict=True))[:3]:
        x0, y0, x1, y1 = (int(v) for v in face.box)
        close = cv2.resize(portrait[y0 - 20 : y1 + 10, x0:x1], None, fx=enlarge, fy=enlarge)
        (found,) = detector.detect(np.asarray(close, np.uint8))
        assert (found.box >= 0).all()
        assert (found.box <= np.tile(close.shape[1::-1], 2)).all()


def test_thumbnail_of_64_px_has_its_face(detector: MediaPipeDetector, portraits: list[Pixels]) -> None:
    for portrait in portraits[:4]:
        small = cv2.resize(portrait, (51, 64), interpolation=cv2.INTER_AREA)
        assert len(detector.detect(np.asarray(small, np.uint8))) == 1


def test_very_large_photo_is_answered_in_its_own_pixels(
    detector: MediaPipeDetector, portraits: list[Pixels], known: list[Face]
) -> None:
    scale = 6
    portrait = cv2.resize(portraits[0], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    assert max(portrait.shape) > LONGEST
    (face,) = detector.detect(np.asarray(portrait, np.uint8))
    assert iou(face.box, known[0].box * scale) > 0.7
    error = np.linalg.norm(face.landmarks - known[0].landmarks * scale, axis=1).mean()
    assert error < 0.05 * eye_distance(face)


def test_grey_and_strided_pixels_are_welcome(detector: MediaPipeDetector, portraits: list[Pixels]) -> None:
    mirrored = portraits[0][:, ::-1]  # not contiguous
    assert len(detector.detect(mirrored)) == 1
    grey = cv2.cvtColor(portraits[0], cv2.COLOR_RGB2GRAY)
    assert len(detector.detect(np.repeat(grey[..., None], 3, axis=2))) == 1


def test_shared_group_and_empty_pictures(detector: MediaPipeDetector, shared: Path) -> None:
    folder = shared / "data" / "groups"
    truth: dict[str, list[list[float]]] = json.loads((folder / "groups.json").read_text())
    for name in ("group-0.jpg", "group-3.jpg", "empty-0.jpg", "empty-5.jpg"):
        found = detector.detect(golden_faces.read(folder / name))
        boxes = [np.array(box, np.float32) for box in truth[name]]
        hits = [box for box in boxes if any(iou(face.box, box) > 0.4 for face in found)]
        assert len(hits) >= 0.95 * len(boxes)
        assert len(found) <= len(boxes)


def test_mask_covers_the_person_and_nothing_else(
    person: PersonMask, portraits: list[Pixels], known: list[Face]
) -> None:
    for portrait, face in zip(portraits, known, strict=True):
        kept = portrait.copy()
        mask = person.matte(portrait, (face,))
        assert mask.shape == portrait.shape[:2]
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert mask.max() <= 1
        oval = np.zeros(mask.shape, np.uint8)
        cv2.fillConvexPoly(oval, cv2.convexHull(face.landmarks).astype(np.int32), 1)
        assert mask[oval > 0].mean() > 0.95
        assert mask[:20, :20].max() < 0.1
        assert mask[:20, -20:].max() < 0.1
        assert np.array_equal(portrait, kept)


def test_mask_finds_small_people_by_their_faces(
    detector: MediaPipeDetector, person: PersonMask, portraits: list[Pixels]
) -> None:
    picture = np.full((1000, 1600, 3), 170, np.uint8)
    small = cv2.resize(portraits[7], None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    picture[1000 - small.shape[0] :, 1200 : 1200 + small.shape[1]] = small
    (face,) = detector.detect(picture)
    mask = person.matte(picture, (face,))
    assert max(mask.shape) > MASK_LONGEST
    x0, y0, x1, y1 = face.box.astype(int)
    assert mask[y0:y1, x0:x1].mean() > 0.9
    assert mask[:, :900].max() < 0.1


class Blind:
    """A segmentation network that sees nobody."""

    def mask(self, picture: Pixels) -> Array:
        return np.zeros(picture.shape[:2], np.float32)

    def close(self) -> None:
        pass


def test_a_face_is_a_person_though_the_network_sees_none(
    portraits: list[Pixels], known: list[Face], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mediapipe, "PersonSegmenter", Blind)
    person = PersonMask()
    mask = person.matte(portraits[2], (known[2],))
    person.close()
    eyes_and_mouth = known[2].landmarks[[RIGHT_PUPIL, LEFT_PUPIL, MOUTH, NOSE_TIP]].astype(int)
    assert min(mask[y, x] for x, y in eyes_and_mouth) > 0.95
    assert mask[:20].max() == 0


def test_mask_is_the_same_whatever_came_between(person: PersonMask, portraits: list[Pixels], known: list[Face]) -> None:
    first = person.matte(portraits[2], (known[2],))
    person.matte(portraits[3], (known[3],))
    assert np.array_equal(person.matte(portraits[2], (known[2],)), first)
    with ThreadPoolExecutor(3) as pool:
        for mask in pool.map(lambda _: person.matte(portraits[2], (known[2],)), range(3)):
            assert np.array_equal(mask, first)


def test_loading_is_late_and_silent() -> None:
    """Importing costs no mediapipe; making both models prints nothing of MediaPipe's start-up noise."""
    code = (
        "import sys; from cartoon.faces import detector, segmentation; assert 'mediapipe' not in sys.modules;"
        "d = detector.MediaPipeDetector(); p = segmentation.PersonMask();"
        "import numpy as np; d.detect(np.zeros((300, 300, 3), np.uint8)); d.close(); p.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


DROPPED = """
import gc, numpy
from cartoon.faces.candidates import SHORT
from cartoon.faces.mediapipe import FaceDetector
for _ in range(3):
    detector = FaceDetector(SHORT)
    detector.detect(numpy.zeros((64, 64, 3), numpy.uint8))
    ring = [detector]
    ring.append(ring)
    del detector, ring
    gc.collect()
print("done")
"""


def test_what_is_dropped_without_being_closed_holds_nobody_up() -> None:
    """Left to the garbage collector, MediaPipe's own `__del__` waited for ever, in whatever thread that happened."""
    command = [sys.executable, "-c", DROPPED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert done.stdout == "done\n"


def test_missing_mediapipe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)  # what the import system records for "not there"
    with pytest.raises(ResourceError, match=r"mediapipe.*requirements\.txt"):
        MediaPipeDetector()


def test_another_mediapipe_is_refused_before_it_is_imported(tmp_path: Path) -> None:
    """From 1.0 on it sends usage metrics home."""
    told = tmp_path / "mediapipe-1.2.2.dist-info" / "METADATA"
    told.parent.mkdir()
    told.write_text("Metadata-Version: 2.1\nName: mediapipe\nVersion: 1.2.2\n")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cartoon.faces.segmentation import PersonMask\n"
        "try: PersonMask()\n"
        "except Exception as error: print(type(error).__name__, error, 'mediapipe' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == (
        "ResourceError Faces are not looked for with mediapipe 1.2.2, only 0.10.33 was seen to stay offline: "
        "install what requirements.txt lists. False\n"
    )


@pytest.mark.parametrize("name", mediapipe.SHA256)
@pytest.mark.parametrize("damage", ["missing", "altered", "cut", "folder"])
def test_a_missing_or_altered_model_is_named(
    name: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mediapipe"
    shutil.copytree(mediapipe.FOLDER, folder)
    monkeypatch.setattr(mediapipe, "FOLDER", folder)
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if damage == "altered":
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        (folder / name).write_bytes(content[:-1])
    elif damage == "folder":
        (folder / name).mkdir()
    make = PersonMask if name == mediapipe.PERSON else MediaPipeDetector
    with pytest.raises(StyleError, match=rf"^{name} [^\n]*: restore the assets folder\.$"):
        make()


def test_the_landmark_models_are_bundled_alike_everywhere() -> None:
    """As training.face_models writes them: else their sha256 would tell the day on which they were made."""
    shipped = mediapipe.model(mediapipe.LANDMARKS)
    with zipfile.ZipFile(io.BytesIO(shipped)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    assert face_models.bundle(parts) == shipped


def test_every_number_of_the_mesh_has_a_place_of_its_own() -> None:
    places = face_models.mesh_places().reshape(478, 3)
    assert np.array_equal(places[1], [3, 4, 5])  # the nose stays where the mesh has it
    assert not np.array_equal(places[13], [39, 40, 41])  # the lips do not
    across_and_down = places[:, :2].ravel()
    assert len(set(across_and_down)) == len(across_and_down)
    assert across_and_down.max() == 3 * 468 + 2 * (80 + 71 + 71 + 5 + 5) - 1


ENDING = """
import sys, threading
from pathlib import Path
from cartoon.images.decode import read
from cartoon.faces.detector import MediaPipeDetector
from cartoon.faces.segmentation import PersonMask
detector, person, pixels = MediaPipeDetector(), PersonMask(), read(Path(sys.argv[1])).pixels
def late():
    threading.main_thread().join()
    for ask in (lambda: detector.detect(pixels), lambda: person.matte(pixels, ())):
        try: ask()
        except Exception as error: print(type(error).__name__, error)
if sys.argv[2] == "late": threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("asked", ["late", "never"])
def test_a_process_that_ends_finds_nothing_wrong(asked: str) -> None:
    """It does not say that nobody is there, and nothing is printed about models that were not closed."""
    command = [sys.executable, "-c", ENDING, str(EXAMPLES[0]), asked]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    told = 2 * "DrainingError The process ends before the picture is done: draw it again.\n" if asked == "late" else ""
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")


def test_all_is_found_as_by_the_mediapipe_before(detector: MediaPipeDetector, person: PersonMask) -> None:
    """Measured: landmarks on average 0.014 % of the face's width apart, at most 0.062 %; masks 1 of 255."""
    golden = golden_faces.load()
    seen = set()
    for name, picture in golden_faces.pictures():
        now, then = golden_faces.found(detector, person, picture), golden[name]
        seen.add(name)
        assert len(now.boxes) == len(then.boxes), name
        if len(then.boxes):
            width = (then.boxes[:, 2] - then.boxes[:, 0])[:, None]
            away = np.linalg.norm(now.landmarks - then.landmarks, axis=2) / width
            assert np.abs(now.boxes - then.boxes).max() < 0.01 * width.min(), name
            assert away.mean(axis=1).max() < 0.001, name
            assert away.max() < 0.005, name
        people, were = now.mask > 127, then.mask > 127
        assert (people & were).sum() >= 0.995 * (people | were).sum(), name
    assert seen == set(golden)
    assert len(golden["group"].boxes) == 24


def test_only_the_models_that_are_used_are_shipped() -> None:
    shipped = {path.name for path in mediapipe.FOLDER.iterdir()}
    assert shipped == set(mediapipe.SHA256) | {"README.md"}
    assert f"mediapipe=={mediapipe.VERSION}\n" in (ROOT / "requirements.txt").read_text()


def test_tiles_cover_the_picture_and_hold_every_small_face_whole() -> None:
    width, height, side, overlap = 1000, 700, 384, 192
    cover = list(tiles(width, height, side, overlap))
    assert all(t.x + t.width <= width and t.y + t.height <= height for t in cover)
    rng = np.random.default_rng(0)
    for _ in range(200):
        x, y = rng.uniform(0, width - overlap), rng.uniform(0, height - overlap)
        assert any(
            t.x <= x and t.y <= y and x + overlap <= t.x + t.width + 1 and y + overlap <= t.y + t.height + 1
            for t in cover
        )
    assert list(tiles(300, 200, side, overlap)) == [Tile(0, 0, 300, 200)]


def test_tile_tells_cut_boxes_from_those_at_the_pictures_own_edge() -> None:
    tile = Tile(100, 0, 200, 200)
    box = np.array([110, -5, 190, 90], np.float32)
    assert not tile.cuts(box, 1000, 1000)
    assert tile.cuts(np.array([98, -5, 178, 90], np.float32), 1000, 1000)
    at_the_right = np.array([220, -5, 300, 90], np.float32)
    assert tile.cuts(at_the_right, 1000, 1000)
    assert not tile.cuts(at_the_right, 300, 1000)


def candidate(x: float, y: float, width: float, score: float, network: str = FULL) -> Candidate:
    """An upright frontal face in a square box, with eyes and mouth where MediaPipe's detector has them."""
    box = np.array([x, y, x + width, y + width], np.float32)
    relative = [[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.5, 0.75]]
    return Candidate(box, (np.array(relative) * width + (x, y)).astype(np.float32), score, network)


def test_candidates_are_grouped_by_overlap_best_first_in_any_order() -> None:
    found = [
        candidate(10, 10, 100, 0.7),
        candidate(15, 12, 100, 0.9, SHORT),
        candidate(300, 10, 50, 0.8),
        candidate(0, 0, 500, 0.6),  # a wrong huge box swallows nobody
    ]
    groups = cluster(found)
    assert [[c.score for c in group] for group in groups] == [[0.9, 0.7], [0.8], [0.6]]
    assert cluster(found[::-1]) == groups
    assert inside(found[2].box, found[3].box) == pytest.approx(1)
    assert iou(found[0].box, found[2].box) == 0


def test_aligned_crop_stands_upright_and_maps_back() -> None:
    upright = candidate(100, 80, 120, 0.9)
    angle = np.radians(40)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([160, 140])
    tilted = Candidate(upright.box, ((upright.points - centre) @ turn.T + centre).astype(np.float32), 0.9, FULL)
    assert upright.tilt == pytest.approx(0, abs=1e-6)
    assert tilted.tilt == pytest.approx(angle, abs=1e-5)
    picture = noise(300, 320)
    crop = aligned_crop(picture, tilted, 160, 2.2)
    assert crop.pixels.shape == (352, 352, 3)
    points = crop.to_crop(tilted.points)
    assert points[0, 1] == pytest.approx(points[1, 1], abs=1e-3)
    assert points[1, 0] - points[0, 0] == pytest.approx(0.4 * 160, abs=1e-2)
    assert crop.to_picture(points) == pytest.approx(tilted.points, abs=1e-3)


def test_aligned_crop_is_not_half_a_pixel_off() -> None:
    """A crop at the picture's own scale repeats its pixels exactly; one that enlarges keeps a spot's centre."""
    picture = noise(200, 200)
    crop = aligned_crop(picture, candidate(60, 60, 80, 0.9), 80, 2.0)
    assert np.abs(crop.pixels.astype(int) - picture[20:180, 20:180]).max() <= 1
    spot = np.zeros((100, 100, 3), np.uint8)
    spot[50, 40] = 255  # its centre is at (40.5, 50.5)
    enlarged = aligned_crop(spot, candidate(25, 35, 30, 0.9), 240, 2.0)
    weights = enlarged.pixels[..., 0].astype(float)
    ys, xs = np.indices(weights.shape) + 0.5
    where = np.array([[(xs * weights).sum(), (ys * weights).sum()]]) / weights.sum()
    assert enlarged.to_picture(where.astype(np.float32)) == pytest.approx(np.array([[40.5, 50.5]]), abs=0.06)


def test_mesh_that_disagrees_with_the_detector_is_refused(detector: MediaPipeDetector, known: list[Face]) -> None:
    face = known[0]
    points = candidate(float(face.box[0]), float(face.box[1]), float(face.box[2] - face.box[0]), 0.9).points
    points[:2] = face.landmarks[[RIGHT_PUPIL, LEFT_PUPIL]]
    points[3] = face.landmarks[MOUTH]
    assert misfit(face.landmarks, points, face.box) < 0.05
    upside_down = face.landmarks * (1, -1) + (0, face.box[1] + face.box[3])
    assert misfit(upside_down.astype(np.float32), points, face.box) == float("inf")
    centre = (face.box[:2] + face.box[2:]) / 2
    small = (face.landmarks - centre) * 0.3 + centre
    assert misfit(small.astype(np.float32), points, face.box) == float("inf")
    assert misfit(face.landmarks + 0.3 * (face.box[2] - face.box[0]), points, face.box) > 0.3
