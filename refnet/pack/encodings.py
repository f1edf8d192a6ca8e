"""How a candidate's files hold numbers where nobody says it: bytes, decimals, and which images of the pack.

Nothing of it is a fault of a port. What was found is told, and the tensors are read so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.pack.candidate import Tensors
from refnet.pack.matching.layouts import axis_orders
from refnet.pack.matching.likeness import Tables
from refnet.pack.pack import Pack
from refnet.readings.orders import whole_steps
from refnet.readings.precision import BYTE_STEPS

__all__ = ["Encoding", "bytes_in_floats", "bytes_of_a_kind", "in_few_steps", "raw_numbers", "same_images"]

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_ODD = 1e18  # beyond it, or below its inverse, no activation lies
_SAMPLE = 4096  # numbers of a file, and
_SOUND = 0.005  # of the numbers of an honest file that may be strange, at most
_MOST = 0.9  # of raw files that must be as large as tensors are
_FILES = 16  # files by which the order of bytes is told
_WIDTHS = {8: "<f8", 2: "<f2"}
_IMAGES = 64  # a port may have run at a time
_TOLD = 6  # tensors by which images are told apart
_FEWEST = 3  # tensors, of which whole numbers are no accident


class Encoding(NamedTuple):
    """How numbers are held.

    Attributes
    ----------
    kind : 'big-endian', 'width' (raw files of another format than float32), 'decimals' (a fixed number of them behind
        the point), 'digits' (a fixed number of significant ones), 'images' (some of the pack's), 'repeated' (more than
        the pack's), 'bytes' (bytes of the other kind, signed or not, than the array says)
    facts : its figures
    """

    kind: str
    facts: Mapping[str, Any]


def raw_numbers(tensors: Mapping[str, Array], sizes: Iterable[int]) -> tuple[Mapping[str, Array], list[Encoding]]:
    """The tensors with raw files read in the format and order of bytes in which they make sense.

    Parameters
    ----------
    sizes : how many numbers the nodes make
    """
    raw = tensors.raw() if isinstance(tensors, Tensors) else {}
    if not isinstance(tensors, Tensors) or not raw:
        return tensors, []
    found: list[Encoding] = []
    known, dtype = Counter(map(float, sizes)), "<f4"
    some = list(raw.values())[:: max(1, len(raw) // _FILES)]
    bytes_ = [place.nbytes for place in raw.values()]
    # Sizes are often twice one another: so many tensors must have them.
    fits = {width: (Counter(size / width for size in bytes_) & known).total() for width in (4, *_WIDTHS)}
    best = max(_WIDTHS, key=lambda width: fits[width])
    # The lower halves of float32 are any bits: read as float16, some are no numbers.
    sound = min(float(np.mean([_strange(place, order + _WIDTHS[best][1:]) for place in some])) for order in "<>")
    if fits[best] > fits[4] and fits[best] >= _MOST * len(raw) and sound < _SOUND:
        dtype = _WIDTHS[best]
        found.append(Encoding("width", {"dtype": np.dtype(dtype).name}))
    little, big = ([_strange(place, order + dtype[1:]) for place in some] for order in "<>")
    if np.mean(little) > 0.2 and np.mean(big) < 0.02:
        dtype = f">{dtype[1:]}"
        found.append(Encoding("big-endian", {}))
    return (tensors.retyped(dtype), found) if found else (tensors, [])


def _strange(place: Any, dtype: str) -> float:
    """How many of a file's numbers, read so, no network would make."""
    y = np.fromfile(place.path, dtype, _SAMPLE, offset=place.offset)
    with np.errstate(all="ignore"):
        size = np.abs(y.astype(np.float64))
        odd = ~np.isfinite(size) | (size > _ODD) | ((size > 0) & (size < 1 / _ODD))
    return float(odd.mean()) if len(y) else 0.0


_OTHER = {"uint8": np.int8, "int8": np.uint8}
_ABOUT = 8  # steps from zero
_MANY = 2 * (BYTE_STEPS + 1)  # numbers by which steps are told


def bytes_of_a_kind(
    tensors: Mapping[str, Array], zero_points: Mapping[str, int]
) -> tuple[Mapping[str, Array], list[Encoding]]:
    """The tensors with bytes of the kind that can hold their zero points, where the arrays' own kind cannot."""
    kinds = {name: str(np.asarray(tensors[name]).dtype) for name in zero_points}
    zeros: dict[str, list[int]] = {}
    for name, kind in kinds.items():
        zeros.setdefault(kind, []).append(zero_points[name])
    wrong = [
        kind for kind, some in zeros.items() if kind in _OTHER and not _hold(kind, some) and _hold(_OTHER[kind], some)
    ]
    if not wrong:
        return tensors, []
    moved = {name for name, kind in kinds.items() if kind in wrong}
    found = wrong[0]
    shifted = _are_shifted([np.asarray(tensors[name]) for name in moved], [zero_points[name] for name in moved])
    made = {n: _other_bytes(np.asarray(y), shifted) if n in moved else np.asarray(y) for n, y in tensors.items()}
    form = "bytes-shifted" if shifted else "bytes"
    return made, [Encoding(form, {"found": found, "known": np.dtype(_OTHER[found]).name})]


def _other_bytes(y: Array, shifted: bool) -> Array:
    """Bytes of the other kind: the same bits, or the same steps, of which each kind begins at its own lowest."""
    return (y ^ y.dtype.type(-128 if y.dtype.kind == "i" else 128) if shifted else y).view(_OTHER[y.dtype.name])


def _are_shifted(arrays: Iterable[Array], zeros: Iterable[int]) -> bool:
    """Whether bytes were moved by 128 from one kind to the other: most numbers of a network lie about its zero."""
    votes = 0
    for y, zero in zip(arrays, zeros, strict=True):
        for shifted, vote in ((True, 1), (False, -1)):
            steps = _other_bytes(y, shifted).astype(np.int64) - zero
            votes += vote * int((np.abs(steps) <= _ABOUT).sum())
    return votes > 0


def _hold(kind: npt.DTypeLike, numbers: Iterable[int]) -> bool:
    limits = np.iinfo(kind)
    return all(limits.min <= number <= limits.max for number in numbers)


def bytes_in_floats(tensors: Mapping[str, Array], scaled: Collection[str]) -> Mapping[str, Array]:
    """The tensors with bytes in place of floats that hold the integers of bytes, where most of them do.

    Parameters
    ----------
    scaled : names of tensors whose scales are known

    Raises
    ------
    RequestError
        if most of these have no scale
    """
    names = [*tensors]
    some = names[:: max(1, len(names) // _FILES)]
    if len(names) < _FEWEST or 2 * sum(_spans(tensors[name]) is not None for name in some) <= len(some):
        return tensors
    whole = {name: ends for name in names if (ends := _spans(tensors[name])) is not None}
    low, high = (pick(ends) for pick, ends in zip((min, max), zip(*whole.values(), strict=True), strict=True))
    bare = [name for name in whole if name not in scaled]
    if 2 * len(bare) > len(whole):
        raise RequestError(
            f"{bare[0]} and {len(bare) - 1} other tensors hold whole numbers from {low} to {high}, as integers of 8 "
            "bits do: give their scales and zero points with --scales, or dump what they stand for"
        )
    kind = np.uint8 if low >= 0 else np.int8
    kept = {name for name in whole if name in scaled and _hold(kind, whole[name])}
    return {name: np.asarray(y).astype(kind) if name in kept else np.asarray(y) for name, y in tensors.items()}


def _spans(y: Array) -> tuple[int, int] | None:
    """The least and the largest of the whole numbers of 8 bits that an array of floats holds alone; no constant."""
    y = np.asarray(y)
    if y.dtype.kind != "f" or not y.size or not _is_whole(y.ravel()[:_SAMPLE]):
        return None
    low, high = float(y.min()), float(y.max())
    if not (low < high and low >= -128 and high <= (127 if low < 0 else 255) and _is_whole(y)):
        return None
    return int(low), int(high)


def _is_whole(y: Array) -> bool:
    with np.errstate(invalid="ignore"):  # bytes in another order may stand for anything
        return np.array_equal(y, np.rint(y))


def in_few_steps(y: Array) -> bool:
    """Whether real numbers are what integers of 8 bits stand for: at most 256 values, all of them steps apart."""
    if y.dtype.kind != "f" or y.size < _MANY or not np.isfinite(y).all():
        return False
    return whole_steps(y, BYTE_STEPS) is not None


# ---------------------------------------------------------------------------------------------------------- the images


def same_images(
    pack: Pack, tensors: Mapping[str, Array], found: Mapping[str, Shape], nodes: Mapping[str, Shape]
) -> tuple[Pack, Mapping[str, Array], list[Encoding]]:
    """A pack and a candidate on the same images, where either has more than the other.

    Parameters
    ----------
    found : the candidate's shapes
    nodes : the shape of what each node makes of one image
    """
    batch = len(pack.tensor("input"))
    counts = Counter(shape for shape in found.values() if math.prod(shape) > 1)
    sides, sizes = {*nodes.values()}, Counter(map(math.prod, nodes.values()))
    flat = Counter(shape[0] for shape in counts.elements() if len(shape) == 1)

    def fitting(images: int) -> int:
        whole = ((shape, n) for shape, n in counts.items() if len(shape) > 1)
        shaped = sum(n for shape, n in whole if any(axis_orders(shape, (images, *side)) for side in sides))
        return shaped + (flat & Counter({images * size: n for size, n in sizes.items()})).total()

    own = fitting(batch)
    if own == counts.total():
        return pack, tensors, []
    firsts = Counter(shape[0] for shape in found.values() if len(shape) > 1)
    tried = [*range(1, batch), *(n for n, _ in firsts.most_common(2) if batch < n <= _IMAGES)]
    images = max(tried, key=fitting, default=batch)
    if 2 * fitting(images) < counts.total() or fitting(images) <= own:
        return pack, tensors, []
    if images > batch:
        cut = {name for name, shape in found.items() if shape[:1] == (images,)}
        return pack, _First(tensors, found, cut, batch), [Encoding("repeated", {"images": images, "first": batch})]
    first = _offset(pack, tensors, found, nodes, images)
    return pack.images(first, images), tensors, [Encoding("images", {"first": first, "images": images, "of": batch})]


def _offset(
    pack: Pack, tensors: Mapping[str, Array], found: Mapping[str, Shape], nodes: Mapping[str, Shape], images: int
) -> int:
    """The first of the pack's images that a candidate was run on."""
    full = {name: (images, *side) for name, side in nodes.items() if name in pack.names}
    places = {node: index for index, node in enumerate(nodes)}
    near = [(name, [node for node in full if axis_orders(found[name], full[node])]) for name in found]
    few = [(name, fits) for name, fits in near if 0 < len(fits) <= _TOLD]
    told = sorted(few, key=lambda each: places[each[1][0]])[:_TOLD]  # the first ones: a port may be wrong later on

    def distance(first: int) -> float:
        part = pack.images(first, images)
        tables = Tables(tensors, found, full, part.tensor)
        return sum(min(like.distance for like in tables.near(name, fits).values()) for name, fits in told)

    return min(range(len(pack.tensor("input")) - images + 1), key=distance)


class _First(Mapping[str, Array]):
    """A candidate's tensors with the first images alone; `shapes` without reading."""

    def __init__(self, tensors: Mapping[str, Array], found: Mapping[str, Shape], cut: set[str], images: int) -> None:
        self.tensors, self.cut, self.count = tensors, cut, images
        self.unread = dict(getattr(tensors, "unread", {}))
        self.shapes = {name: (images, *shape[1:]) if name in cut else shape for name, shape in found.items()}

    def __getitem__(self, name: str) -> Array:
        y = np.asarray(self.tensors[name])
        return y[: self.count] if name in self.cut else y

    def __iter__(self) -> Any:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)
