"""Mutants that know what they damage: JSON, XML, lines, protobuf messages, tables of checkpoints, files of a folder.

Bytes flipped at random mostly break a length, and every reader sees that. Here lengths are made right again, so that
what is read is a whole file that lies: sizes, counts and offsets that are not so, names that are others', tensors that
read themselves, lists within lists, files that lead elsewhere. `fuzz.py` reads them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_messages import lie, names, protobuf_mutant, table_mutant

__all__ = ["folders"]

PATHS = [
    "../outside",
    "/etc/hostname",
    "a/../../outside",
    "..",
    ".",
    "",
    "C:\\x",
    "a\0b",
    "\\\\x\\y",
    "outside",
    "x" * 5000,
]


def folders(
    files: dict[str, bytes], main: str, place: Path, outside: Path, rng: np.random.Generator, count: int
) -> Iterator[None]:
    """Write one mutant of a folder after another.

    Parameters
    ----------
    files : of the good folder, by name
    main : the file that is asked for, which may be a link; '' where it is the folder
    place : where each mutant is written
    outside : a file that no reader may open
    """
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        made = dict(files)
        tricked = ""
        if rng.random() < 0.15:
            tricked = str(rng.choice(sorted(files)))
        else:
            # What describes is damaged more often than what is described.
            small = sorted(files, key=lambda name: (_kind(name) == "numbers", len(files[name])))
            name = small[0] if rng.random() < 0.9 else str(rng.choice(small))
            for _ in range(int(rng.integers(1, 4))):
                made[name] = _damaged(name, made[name], rng)
        for name, data in made.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name == tricked:
                _trick(path, data, path.with_name("absent") if name == main else outside, rng)
            else:
                path.write_bytes(data)
        yield


def _kind(name: str) -> str:
    suffix = name.rpartition(".")[2]
    known = {"json": "json", "pb": "protobuf", "index": "table", "xml": "xml", "param": "lines"}
    return known.get(suffix, "numbers")


def _damaged(name: str, data: bytes, rng: np.random.Generator) -> bytes:
    match _kind(name):
        case "json":
            return json_mutant(data, rng)
        case "protobuf":
            return protobuf_mutant(data, rng, names(data))
        case "table":
            return table_mutant(data, rng)
        case "xml":
            return xml_mutant(data, rng)
        case "lines":
            return lines_mutant(data, rng)
    at = int(rng.integers(len(data) + 1))
    return [data[:at], data + bytes(at), data[at:], b"", rng.bytes(len(data))][int(rng.integers(5))]


def _trick(path: Path, data: bytes, outside: Path, rng: np.random.Generator) -> None:
    """Something else in the place of a file."""
    match rng.integers(6):
        case 0:
            path.symlink_to(outside)
        case 1:
            path.symlink_to(path.name)
        case 2:
            path.mkdir()
        case 3:
            os.mkfifo(path)
        case 4:
            path.write_bytes(b"")
        case 5:
            pass  # missing


# ----------------------------------------------------------------------------------------------------------------- JSON


def json_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """A JSON text whose values lie, or that is no JSON that should be read."""
    if rng.random() < 0.1:
        return _text(data, rng)
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data[: int(rng.integers(len(data) + 1))]
    spots: list[tuple[Any, Any]] = []
    _collect(tree, spots)
    if not spots:
        return data
    words = sorted({holder[key] for holder, key in spots if isinstance(holder[key], str)})
    for _ in range(int(rng.integers(1, 4))):
        holder, key = spots[int(rng.integers(len(spots)))]
        if not _there(holder, key):
            continue
        match rng.integers(8):
            case 0 | 1:
                holder[key] = _other(holder[key], words, rng)
            case 2:
                holder[key] = _strange(rng)
            case 3:
                del holder[key]
            case 4:
                other, name = spots[int(rng.integers(len(spots)))]
                if _there(other, name):
                    holder[key] = json.loads(json.dumps(other[name]))
            case 5 if isinstance(holder, list):
                holder.extend([holder[key]] * int(rng.choice([1, 2, 100])))
            case 6:
                deep: Any = holder[key]
                for _ in range(int(rng.choice([3, 90, 300]))):
                    deep = [deep] if rng.random() < 0.5 else {"list": deep}
                holder[key] = deep
            case 7 if isinstance(holder, dict):
                holder[str(rng.choice(words))] = holder[key]
    return json.dumps(tree).encode()


def _there(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _collect(tree: Any, spots: list[tuple[Any, Any]]) -> None:
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        spots.append((tree, key))
        _collect(tree[key], spots)


def _other(value: Any, words: list[str], rng: np.random.Generator) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return lie(rng)
    if isinstance(value, str):
        return str(lie(rng)) if value.lstrip("-").isdigit() else str(rng.choice([*PATHS, *words]))
    return _strange(rng)


def _strange(rng: np.random.Generator) -> Any:
    return [None, True, -1, 1.5, 1e308, "", "x", [], {}, [[]], {"a": {}}, 10**40, [1] * 1000][int(rng.integers(13))]


def _text(data: bytes, rng: np.random.Generator) -> bytes:
    match rng.integers(7):
        case 0:
            return b'{"format": 1,' + data[1:]
        case 1:
            return re.sub(rb"\d+", b"NaN", data, count=int(rng.integers(1, 9)))
        case 2:
            return re.sub(rb"\d+", b"1" * 6000, data, count=int(rng.integers(1, 9)))
        case 3:
            return b'{"modelTopology": ' + b"[" * int(rng.choice([500, 100_000])) + data
        case 4:
            return b'{"modelTopology": {"node": [' + b"[]," * 3_000_000 + b"[]]}}"
        case 5:
            return b'{"a": ' * 50_000 + b"1" + b"}" * 50_000
    return data[: int(rng.integers(len(data) + 1))]


# ----------------------------------------------------------------------------------------------------------- XML, lines

_DOCTYPES = [
    b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>',
    b'<!DOCTYPE net SYSTEM "file:///etc/hostname">',
    b'<!DOCTYPE net [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]>',
]


def xml_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """XML whose attributes lie, whose elements are twice, elsewhere or gone, or that should not be read."""
    elements = list(re.finditer(rb"<layer .*?</layer>|<edge [^>]*>", data, re.DOTALL))
    words = re.findall(rb'="([^"]*)"', data)
    match rng.integers(10):
        case 0:
            at = data.find(b"<net")
            data = data[:at] + _DOCTYPES[int(rng.integers(len(_DOCTYPES)))] + data[at:]
            return re.sub(rb'name="[^"]*"', b'name="&c;"', data, count=int(rng.integers(3)))
        case 1:
            deep = int(rng.choice([50, 5000, 200_000]))
            return data.replace(b"<layers>", b"<layers>" + b"<a>" * deep + b"</a>" * deep, 1)
        case 2:
            return data.replace(b"<layers>", b"<layers>" + b"<b/>" * int(rng.choice([1000, 500_000])), 1)
        case 3:
            return data.replace(b'version="1.0"', b'version="1.0" encoding="UTF-16"', 1)
        case 4 | 5 if elements:
            element = elements[int(rng.integers(len(elements)))]
            other = elements[int(rng.integers(len(elements)))].group()
            new = [b"", element.group() * 2, other, element.group() * 3000][int(rng.integers(4))]
            return data[: element.start()] + new + data[element.end() :]
    for _ in range(int(rng.integers(1, 5))):
        places = list(re.finditer(rb'="([^"]*)"', data))
        place = places[int(rng.integers(len(places)))]
        told = [
            str(lie(rng)).encode(),
            words[int(rng.integers(len(words)))],
            b",".join([str(lie(rng)).encode()] * int(rng.choice([1, 4, 5, 70, 20_000]))),
            place.group(1) + b",1",
            b"",
        ][int(rng.integers(5))]
        data = data[: place.start(1)] + told + data[place.end(1) :]
    return data


def lines_mutant(data: bytes, rng: np.random.Generator) -> bytes:
    """Lines of words whose numbers lie, whose names are others', that are twice or gone; their count is right."""
    first, _, *rows = data.decode("utf-8", "replace").splitlines() or [""]
    rows = rows or ["x"]
    words = sorted({word for row in rows for word in row.split()})
    for _ in range(int(rng.integers(1, 4))):
        index = int(rng.integers(len(rows)))
        parts = rows[index].split() or ["x"]
        place = int(rng.integers(len(parts)))
        match rng.integers(7):
            case 0 | 1:
                key = parts[place].partition("=")[0]
                parts[place] = f"{key}={lie(rng)}" if "=" in parts[place] else str(rng.choice(words))
            case 2:
                parts[place] = str(
                    rng.choice([*words, "nan", "1e400", "-1", "99999", "1=1=1", "=", "-23300=2000000000"])
                )
            case 3:
                parts.insert(place, str(rng.choice(words)))
            case 4:
                del parts[place]
            case 5:
                rows[index:index] = [rows[index]] * int(rng.choice([1, 30_000]))
            case 6:
                parts += [f"{number}=1" for number in range(int(rng.choice([3, 5000])))]
        rows[index] = " ".join(parts)
        if rng.random() < 0.2:
            del rows[int(rng.integers(len(rows)))]
        if not rows:
            break
    return "\n".join([first, f"{len(rows)} {len(rows)}", *rows, ""]).encode()
