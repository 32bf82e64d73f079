"""Draw how a training run went: `python -m training.curves runs/distil/log.csv [--out FILE.png]`.

One curve for each term of the loss over the steps, on a logarithmic axis; beside the log unless --out says otherwise.
"""

import argparse
import csv
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Curves = dict[str, NDArray[np.float64]]

KNOWN: Final = ("step", "seconds")
SMOOTH: Final = 9
"""Rows of the log that the bold curve is the running median of; the thin one is the log itself."""


def read_log(path: Path) -> Curves:
    """Column -> its values, steps rising.

    Left out: a line cut short by a stop; what a resumed run did again; a resumed run's first line where that shows, as
    it is no whole mean. Raises ValueError when it is no log of a training run.
    """
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file)) or [[]]
    whole = [row for row in rows if len(row) == len(header)]
    if tuple(header[:2]) != KNOWN or not whole:
        raise ValueError(f"{path} holds no steps of a training run: name the log.csv that training.distil wrote.")
    table: list[list[float]] = []
    for row in ([float(value) for value in line] for line in whole):
        resumed = bool(table) and row[0] <= table[-1][0]
        while table and row[0] <= table[-1][0]:
            table.pop()
        if not resumed:
            table.append(row)
    return {name: np.array(values) for name, values in zip(header, zip(*table, strict=True), strict=True)}


def plot(curves: Curves, out: Path) -> None:
    """Write the picture, PNG. Raises RuntimeError when matplotlib is missing."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no window system, no global state, always Agg for PNG
    except ImportError as error:
        raise RuntimeError("matplotlib is missing: pip install matplotlib.") from error
    terms = {name: values for name, values in curves.items() if name not in KNOWN}
    figure = Figure(figsize=(10, 6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for index, (name, values) in enumerate((terms | {"total": np.sum(list(terms.values()), 0)}).items()):
        above = np.where(values > 0, values, np.nan)  # a logarithm knows no zero
        axes.plot(curves["step"], above, color=f"C{index}", alpha=0.25, linewidth=0.8)
        axes.plot(curves["step"], running_median(above, SMOOTH), color=f"C{index}", label=f"{name}, {above[-1]:.3g}")
    axes.set_yscale("log")
    axes.set_xlabel(f"step ({curves['seconds'][-1] / 60:.0f} min)")
    axes.set_ylabel("term of the loss")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(out, format="png")


def running_median(values: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Median of the `length` values around each, of fewer at the ends; same shape."""
    half = length // 2
    windows = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array([np.nan if np.isnan(window).all() else np.nanmedian(window) for window in windows])


def main() -> None:
    """Read, draw, say where."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="the log.csv of a run")
    parser.add_argument("--out", type=Path, help="PNG to write")
    a = parser.parse_args()
    out = a.out or a.log.with_suffix(".png")
    try:
        plot(read_log(a.log), out)
    except (OSError, ValueError, RuntimeError) as error:
        raise SystemExit(str(error)) from error
    print(out)


if __name__ == "__main__":
    main()
