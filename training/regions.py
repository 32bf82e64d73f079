"""Where skin, hair and clothes are: colour mixtures fitted to each portrait, with places known beforehand.

Expectation maximisation over three classes inside the person: a class is where its colours are likely and where it
usually lies relative to the face (priors in face coordinates). Colours are Gaussian mixtures (OpenCV's EM), fitted
first to the places that are nearly certain and then to what the first pass found; a guided filter (He, Sun, Tang
2010) moves the borders to the picture's own edges.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.faces.guide import (
    CHIN,
    EYES,
    FOREHEAD,
    LIPS_LOWER_OUTER,
    LIPS_UPPER_OUTER,
    OVAL,
    Points,
    face_width,
    smoothstep,
)

Plane = NDArray[np.float32]

ROUNDS: Final = 3
COMPONENTS: Final = 4
SAMPLES: Final = 3000
TEMPERATURE: Final = 0.9
"""Weight of the colour evidence against the prior: neighbouring pixels are no independent witnesses."""
ANY_COLOUR: Final = -6.5
"""Log density that clothes have at any colour, a shirt's or a scarf's that the mixture has not seen."""


@dataclass(frozen=True, eq=False)
class Regions:
    """Soft masks (H, W), 0..1: skin (features included), hair (head, brows, full beards) and clothes."""

    skin: Plane
    hair: Plane
    clothes: Plane


def segment(lab: NDArray[np.float32], person: Plane, landmarks: Points) -> Regions:
    """Fit and apply the mixtures. lab: float32 (H, W, 3) CIELAB. person: (H, W). landmarks: (478, 2) px."""
    fw = face_width(landmarks)
    height, width = person.shape
    small = max(1.0, fw / 110)  # the evidence is gathered where a face is 110 px wide
    size = (round(width / small), round(height / small))
    features = _features(np.asarray(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), np.float32), fw / small)
    inside = np.clip(cv2.resize(person, size, interpolation=cv2.INTER_AREA), 0, 1)
    points = landmarks / np.float32(small)
    prior = _priors(size, points) * inside
    prior = np.concatenate([prior, (1 - inside)[None]])
    prior /= prior.sum(0) + 1e-6
    chroma = np.hypot(features[..., 1] * 4, features[..., 2] * 5)
    # The face alone: a neck is as usual below it, but so is the white collar around it.
    face = (prior[0] > 0.75) & (_distance(size, points[OVAL]) < 0)
    coloured = chroma > (0.55 * np.median(chroma[face]) if face.any() else 0.0)
    prior[0][~face & ~coloured] *= 0.15
    prior /= prior.sum(0) + 1e-6
    belief = prior
    for turn in range(ROUNDS):
        seeds = (prior if turn == 0 else belief)[:3].copy()
        seeds[0] *= face | coloured  # what is paler than half the face's colour is a collar, no neck
        sure = 0.8 if turn == 0 else 0.7
        skin = _log_likelihood(features, seeds[0], sure)
        # A forehead or a bald head in the hair's usual place must not teach the hair's colours.
        usual = np.quantile(skin[seeds[0] >= sure], 0.15) if (seeds[0] >= sure).any() else 0.0
        coarse = np.median(features[..., 3][seeds[0] >= sure]) if (seeds[0] >= sure).any() else 0.0
        other = (skin < usual - 1.5) | (features[..., 3] > coarse + 0.9)
        hair, clothes = (_log_likelihood(features, seed * other, sure) for seed in seeds[1:])
        evidence = np.stack([skin, hair, np.maximum(clothes, ANY_COLOUR)])
        score = np.log(prior + 1e-5)
        score[:3] += TEMPERATURE * evidence[:3]
        score[3] = np.log(prior[3] + 1e-5) + TEMPERATURE * evidence[:3].max(0)  # how it looks says nothing of backdrop
        score -= score.max(0)
        belief = np.exp(score)
        belief /= belief.sum(0)
        belief = np.stack([_calm(b) for b in belief])
        belief /= belief.sum(0) + 1e-6
    picture = lab / np.float32(100)
    radius = max(3, round(0.03 * fw))
    masks = [
        np.clip(
            cv2.ximgproc.guidedFilter(
                picture, cv2.resize(b, (width, height), interpolation=cv2.INTER_LINEAR), radius, 4e-4
            ),
            0,
            1,
        )
        for b in belief[:3]
    ]
    total = np.maximum(np.sum(masks, 0), 1e-3)
    skin, hair, clothes = (_steep(m / total) * person for m in masks)
    rest = np.maximum(skin + hair + clothes, 1e-3)
    skin, hair, clothes = (m / rest * person for m in (skin, hair, clothes))
    return Regions(*(np.asarray(m, np.float32) for m in (skin, hair, clothes)))


def _features(lab: NDArray[np.float32], fw: float) -> NDArray[np.float32]:
    """Colour and fine texture of each pixel, scaled so that a unit means about the same in each."""
    smooth = cv2.bilateralFilter(lab, 0, 8, max(1.0, 0.02 * fw))
    detail = np.abs(lab[..., 0] - cv2.GaussianBlur(lab[..., 0], (0, 0), 1.5))
    texture = np.log1p(cv2.GaussianBlur(detail, (0, 0), max(1.0, 0.02 * fw)))
    return np.dstack([smooth[..., 0] / 10, smooth[..., 1] / 4, smooth[..., 2] / 5, texture / 0.35]).astype(np.float32)


def _priors(size: tuple[int, int], p: Points) -> NDArray[np.float32]:
    """How usual skin, hair and clothes are at each place relative to the face: (3, H, W)."""
    across = p[454] - p[234]
    half_width, half_height = (float(np.linalg.norm(way)) / 2 for way in (across, p[FOREHEAD] - p[CHIN]))
    centre, right = p[OVAL].mean(0), across / np.linalg.norm(across)
    down = np.array([-right[1], right[0]])
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float32), np.arange(size[1], dtype=np.float32))
    u = ((x - centre[0]) * right[0] + (y - centre[1]) * right[1]) / half_width
    v = ((x - centre[0]) * down[0] + (y - centre[1]) * down[1]) / half_height
    oval = _distance(size, p[OVAL]) / half_width  # below zero inside
    inside = smoothstep(-oval, -0.06, 0.06)
    below, side = smoothstep(v, 0.75, 1.15), np.abs(u)
    neck = below * (1 - smoothstep(side, 0.55, 0.95)) * (1 - smoothstep(v, 1.7, 2.6))
    ears = smoothstep(0.25 - oval, 0, 0.2) * smoothstep(v, -0.45, -0.1) * (1 - smoothstep(v, 0.3, 0.6)) * (1 - inside)
    # hair: a band around the top and the sides, thinning out; long hair down to the shoulders
    band = (1 - inside) * (1 - smoothstep(oval, 0.75, 1.3)) * (1 - smoothstep(v, 0.15, 0.75))
    long = (
        (1 - smoothstep(np.abs(side - 1.25), 0.3, 0.9))
        * (1 - smoothstep(v, 1.6, 3.0))
        * smoothstep(v, -0.2, 0.6)
        * (1 - inside)
    )
    hairline = inside * (1 - smoothstep(v, -1.02, -0.7))
    temples = inside * smoothstep(side, 0.75, 0.98) * (1 - smoothstep(v, -0.3, 0.2))
    lips = smoothstep(
        _distance(size, np.vstack([p[LIPS_UPPER_OUTER], p[LIPS_LOWER_OUTER][::-1]])), 0, 0.05 * half_width
    )
    nose = float(((p[2] - centre) * down).sum() / half_height)
    beard = inside * smoothstep(v, nose + 0.02, nose + 0.12) * lips
    brows = np.zeros_like(u)
    for eye in EYES:
        outline = np.vstack([p[eye[5]], p[eye[6]][::-1]])
        brows = np.maximum(brows, smoothstep(-_distance(size, outline), -0.05 * half_width, 0.02 * half_width))
    skin = (
        0.03
        + 0.95 * inside * (1 - 0.5 * hairline) * (1 - 0.25 * beard)
        + 0.62 * neck
        + 0.45 * ears
        + 0.06 * below
        + 0.10 * band
    )
    hair = 0.006 + 0.75 * band + 0.26 * long + 0.3 * hairline + 0.2 * temples + 0.2 * beard + 0.55 * brows
    clothes = 0.01 + 0.10 * below + 1.2 * below * smoothstep(side + 0.55 * (v - 1.2), 0.2, 1.0) + 0.05 * long
    stacked = np.stack([skin, hair, clothes]).astype(np.float32)
    return np.asarray(stacked / stacked.sum(0), np.float32)


def _distance(size: tuple[int, int], outline: Points) -> Plane:
    """Signed distance to a closed outline, px; below zero inside."""
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillPoly(mask, [np.round(outline).astype(np.int32)], (1,))
    return np.asarray(
        cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5) - cv2.distanceTransform(mask, cv2.DIST_L2, 5), np.float32
    )


def _log_likelihood(features: NDArray[np.float32], weight: Plane, sure: float) -> Plane:
    """Log density of every pixel's colour under a mixture fitted to the pixels that weigh at least `sure`."""
    rows = features[weight >= sure]
    if len(rows) < 40:
        rows = features[weight >= max(0.3, float(np.quantile(weight, 0.995)))]
    if len(rows) < 40:
        return np.full(weight.shape, -12.0, np.float32)
    rows = np.ascontiguousarray(rows[:: max(1, len(rows) // SAMPLES)])
    model = cv2.ml.EM.create()
    model.setClustersNumber(COMPONENTS)
    model.setCovarianceMatrixType(cv2.ml.EM_COV_MAT_DIAGONAL)
    model.setTermCriteria((cv2.TERM_CRITERIA_COUNT, 12, 0))
    cv2.setRNGSeed(7)
    model.trainEM(rows)
    means, shares = model.getMeans(), model.getWeights()[0]
    flat = features.reshape(-1, features.shape[2])
    best = np.full(len(flat), 1e-8, np.float64)
    for mean, covariance, share in zip(means, model.getCovs(), shares, strict=True):
        variance = np.diag(covariance) + 0.35  # a floor, since neighbouring portraits differ more than one's own pixels
        distance = ((flat - mean) ** 2 / variance).sum(1)
        best += share * np.exp(-0.5 * np.minimum(distance, 60)) / np.sqrt(variance.prod())
    return np.maximum(np.log(best), -16).reshape(weight.shape).astype(np.float32)


def _calm(belief: Plane) -> Plane:
    return np.asarray(cv2.GaussianBlur(cv2.medianBlur(belief, 5), (0, 0), 0.8), np.float32)


def _steep(x: Plane) -> Plane:
    return smoothstep(x, 0.15, 0.85)
