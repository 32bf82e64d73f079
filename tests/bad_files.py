"""A folder of damaged and odd files among good portraits through the real command line; prints what came of it as JSON.

`python -m tests.bad_files BAD_FOLDER PORTRAITS [--portraits 50]`
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests import ROOT


def run(*args: object) -> list[dict[str, Any]]:
    """The events of one run."""
    command = [sys.executable, "-m", "cartoon", "run", *map(str, args), "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    assert done.returncode in (0, 1), done.returncode
    return [json.loads(line) for line in done.stdout.splitlines()]


def peak_mb() -> float:
    """The most memory that any one process of those run so far has had."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def mixed(bad: Path, portraits: list[Path], work: Path) -> dict[str, Any]:
    """Draw one small photo, then everything."""
    run(ROOT / "assets" / "examples" / "021902.jpg", "-o", work / "idle", "--size", 64)
    idle = peak_mb()
    *photos, summary = run(bad, *portraits, "-o", work / "out", "--size", "original")
    names = {str(path) for path in portraits}
    good = [event for event in photos if event["input"] in names]
    failed = [event for event in photos if event["status"] == "failed"]
    return {
        "files": len(photos),
        "good": len(good),
        "good_drawn": sum(event["status"] == "done" for event in good),
        "failed": len(failed),
        "failed_without_a_reason": sum(not event["code"] or len(event["message"]) < 20 for event in failed),
        "not_reached": summary["remaining"],
        "slowest_s": max(event["seconds"] for event in photos),
        "slowest": Path(max(photos, key=lambda event: event["seconds"])["input"]).name,
        "over_idle_mb": round(peak_mb() - idle),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bad", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--portraits", type=int, default=50)
    args = parser.parse_args()
    portraits = [path.resolve() for path in sorted(args.folder.rglob("*.jpg"))[: args.portraits]]
    with TemporaryDirectory() as work:
        print(json.dumps(mixed(args.bad.resolve(), portraits, Path(work)), indent=1))


if __name__ == "__main__":
    main()
