"""What can happen to the files of a job: one thing at random, to one of them; `tests.damage` looks at what it does."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534
"""The user that nothing belongs to."""
FILES = ("manifest.json", "manifest.copy.json", "items.jsonl", "journal.jsonl", "started.jsonl", "lock")
LIKELY = (3, 1, 6, 6, 1, 1)


def damage(folder: Path, chance: random.Random) -> str:
    """Do one thing to a job's folder; what was done, in words."""
    path = folder / chance.choices(FILES, LIKELY)[0]
    if chance.random() < 0.1:
        others = [folder, folder / "inputs", folder / "results", *sorted(folder.glob("results/*"))]
        path = chance.choice([other for other in others if other.exists()])
    foreign = [_foreign] if os.getuid() == 0 else []
    if path.is_dir():
        kind = chance.choice([_removed, _a_file, _link_elsewhere, *foreign])
    elif path.stat().st_size == 0:
        kind = chance.choice([_removed, _a_folder, _a_pipe, _noise])
    else:
        lines = [_line_gone, _line_twice, _lines_swapped, _line_of_noise, _odd_value, _other_number, _not_utf8]
        files = [_byte, _byte, _byte, _some_bytes, _cut, _cut, _emptied, _removed, _a_folder, _a_pipe, _noise]
        files += [_link_elsewhere, _dangling, _of_another_job, *foreign]
        kind = chance.choice(files + (lines * 2 if path.suffix == ".jsonl" else []))
    kind(path, chance)
    return f"{kind.__name__[1:]} {path.relative_to(folder)}"


def _byte(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _some_bytes(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    begin = chance.randrange(len(data))
    data[begin : begin + chance.randint(1, 40)] = chance.randbytes(chance.randint(0, 40))
    path.write_bytes(data)


def _cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def _emptied(path: Path, chance: random.Random) -> None:
    os.truncate(path, 0)


def _noise(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.randint(1, 5000)))


def _removed(path: Path, chance: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _a_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _a_file(path: Path, chance: random.Random) -> None:
    shutil.rmtree(path)
    path.write_bytes(b"a file")


def _a_pipe(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_elsewhere(path: Path, chance: random.Random) -> None:
    kept = path.with_name(f"{path.name}.kept")
    path.rename(kept)
    path.symlink_to(kept)


def _dangling(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _foreign(path: Path, chance: random.Random) -> None:
    os.seteuid(0)
    os.chown(path, 0, 0)
    path.chmod(0o700 if path.is_dir() else 0o600)
    os.seteuid(NOBODY)


def _of_another_job(path: Path, chance: random.Random) -> None:
    others = [other for other in path.parent.parent.glob(f"*/{path.name}") if other != path]
    if others:
        shutil.copy(chance.choice(others), path)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _line_gone(path: Path, chance: random.Random) -> None:
    lines = _lines(path)
    del lines[chance.randrange(len(lines))]
    path.write_bytes(b"".join(lines))


def _line_twice(path: Path, chance: random.Random) -> None:
    lines = _lines(path)
    lines.insert(chance.randrange(len(lines)), chance.choice(lines))
    path.write_bytes(b"".join(lines))


def _lines_swapped(path: Path, chance: random.Random) -> None:
    lines = _lines(path)
    chance.shuffle(lines)
    path.write_bytes(b"".join(lines))


def _line_of_noise(path: Path, chance: random.Random) -> None:
    lines = _lines(path)
    noise = chance.choice(
        [b"", b"{}", b"[]", b"null", b"3", b'"x"', b"{" * 100_000, b"[" * 100_000, chance.randbytes(60)]
    )
    lines[chance.randrange(len(lines))] = noise + b"\n"
    path.write_bytes(b"".join(lines))


def _not_utf8(path: Path, chance: random.Random) -> None:
    lines = _lines(path)
    number = chance.randrange(len(lines))
    lines[number] = lines[number].replace(b".png", b"\xff\xfe.png", 1)
    path.write_bytes(b"".join(lines))


def _odd_value(path: Path, chance: random.Random) -> None:
    """A value of another kind, also where the line then has no checksum, as earlier versions wrote it."""
    odd = [
        "NaN",
        "1e999",
        "-1",
        "1" + "0" * 400,
        "null",
        "true",
        '"x"',
        "[]",
        "{}",
        '"\\u0000"',
        '"../../a"',
        "[" * 500,
    ]

    def changed(told: dict[str, object]) -> str:
        key = chance.choice(sorted(told))
        text = json.dumps({**told, key: "HERE"})
        return text.replace('"HERE"', chance.choice(odd))

    _rewritten(path, chance, changed)


def _other_number(path: Path, chance: random.Random) -> None:
    _rewritten(path, chance, lambda told: json.dumps({**told, "item": chance.choice([0, 1, 3, 7, 8, 500, 10**12])}))


def _rewritten(path: Path, chance: random.Random, change: Callable[[dict[str, object]], str]) -> None:
    lines = _lines(path)
    old = chance.random() < 0.5
    told = [json.loads(line) for line in lines]
    if old:  # the whole file as an earlier version wrote it
        told = [{key: value for key, value in one.items() if key != "sum"} for one in told]
        lines = [json.dumps(one).encode() + b"\n" for one in told]
    number = chance.randrange(len(lines))
    lines[number] = change(told[number]).encode() + b"\n"
    path.write_bytes(b"".join(lines))
