"""How close the network comes to its teacher on people it has not seen.

    python -m training.evaluate --pairs DIR --faces faces.npz --weights FILE --work runs/distil [--sheet sheet.png]

Prints a Markdown table and, with --sheet, writes a contact sheet (photo, teacher, network). The held-out names
come from the plan.json that training wrote.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cartoon.portrait.compose import flatten, to_uint8
from cartoon.portrait.guide import CHANNELS, draw_guide
from cartoon.styles.network import Canvas, StyleNet
from training.dataset import load_pair

EYES_AND_MOUTH = [CHANNELS.index(name) for name in ("eyes", "brows", "lids", "lips", "mouth")]


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], where: NDArray[np.bool_] | None = None) -> float:
    """Peak signal-to-noise ratio in dB of uint8 pictures, over `where` (H, W) if given."""
    error = (a.astype(np.float64) - b.astype(np.float64)) ** 2
    mean = error.mean() if where is None else error[where].mean()
    return float(10 * np.log10(255**2 / max(mean, 1e-9)))


def edge_energy(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    """Mean gradient magnitude (Sobel, of lightness) over a region."""
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))[where].mean())


def main() -> None:
    """Draw the held-out photos, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/distil"))
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--precision", default="auto")
    a = parser.parse_args()
    net = StyleNet(a.weights, None, "auto", a.precision)
    names = json.loads((a.work / "plan.json").read_text())["held_out"]
    print(f"{len(names)} unseen people, {net.device}, {net.precision}\n")
    print("| style | PSNR dB | photo itself dB | eyes and mouth dB | edges, eyes and mouth | edges, face |")
    print("|---|---|---|---|---|---|")
    rows: list[list[NDArray[np.uint8]]] = [[] for _ in names]
    with np.load(a.faces) as known:
        for slot, style in enumerate(net.styles):
            figures = []
            for row, name in zip(rows, names, strict=True):
                photo, drawing = load_pair(a.pairs, name, [style])
                person = known[f"{name}.person"].astype(np.float32) / 255
                guide = draw_guide(photo, person, [known[f"{name}.landmarks"]])
                drawn = net.draw([Canvas(photo, guide, slot, 1.0)])[0]
                ours = to_uint8(flatten(drawn.stack))
                features = cv2.dilate(guide[EYES_AND_MOUTH].max(0), np.ones((7, 7), np.uint8)) > 32
                face = (guide[CHANNELS.index("oval")] > 128) & ~features
                figures.append(
                    (
                        psnr(ours, drawing),
                        psnr(photo, drawing),
                        psnr(ours, drawing, features),
                        edge_energy(ours, features) / edge_energy(drawing, features),
                        edge_energy(ours, face) / edge_energy(drawing, face),
                    )
                )
                row += [photo, drawing, ours] if not row else [drawing, ours]
            mean = np.mean(figures, 0)
            print(f"| {style} | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.1f} | {mean[3]:.2f} | {mean[4]:.2f} |")
    if a.sheet:
        sheet = np.vstack([np.hstack(row) for row in rows])
        cv2.imwrite(str(a.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
