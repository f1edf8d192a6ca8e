"""What a network says of images, in lines and as a document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.evaluation.answers import Answer
from refnet.text import plain

__all__ = ["answer_document", "answer_lines", "map_pixels", "mask_pixels", "ranked"]

_SHOWN = 6  # numbers of a vector
_KINDS = {
    "classes": "probabilities of classes",
    "logits": "logits; probabilities by a softmax",
    "independent": "a probability each",
    "number": "a number",
    "vector": "features",
    "map": "a map",
    "mask": "numbers of each class for each pixel",
}


def ranked(answer: Answer, names: Sequence[str], top: int) -> list[list[tuple[int, str, float]]]:
    """For each image the most probable classes: number, name, probability."""
    rows = answer.probabilities
    if rows is None:
        return []
    called = names if len(names) == rows.shape[1] else [f"class {k}" for k in range(rows.shape[1])]
    return [[(int(k), plain(called[k]), float(row[k])) for k in np.argsort(-row, kind="stable")[:top]] for row in rows]


def answer_lines(answer: Answer, names: Sequence[str], top: int, *, alone: bool) -> list[str]:
    """One output as lines.

    Parameters
    ----------
    names : of the classes
    top : how many classes of each image
    alone : whether it is the network's only output
    """
    size = " x ".join(map(str, answer.values.shape))
    expected = alone and answer.kind in ("classes", "logits")
    lines = [] if expected else [f"{answer.name}: {size}, {_KINDS[answer.kind]}"]
    images = ranked(answer, names, top)
    for index, y in enumerate(answer.values):
        if len(answer.values) > 1:
            lines.append(f"image {index}")
        if images:
            lines += [f"{k:>6}  {probability:7.2%}  {name}" for k, name, probability in images[index]]
        elif answer.kind == "mask":
            shares = [(k, count / y[0].size) for k, count in _pixels(y)[:top]]
            called = names if len(names) == len(y) else [f"class {k}" for k in range(len(y))]
            lines += [f"{k:>6}  {share:7.2%}  {plain(called[k])}" for k, share in shares]
        elif answer.kind == "map":
            lines += _map_lines(y, names, top)
        else:
            lines.append(_vector_line(y))
    return lines


def _pixels(y: npt.NDArray[Any]) -> list[tuple[int, int]]:
    """(class, pixels) of a mask, (C, H, W): for how many pixels each class is the largest; the most first."""
    counts = np.bincount(y.argmax(axis=0).ravel(), minlength=len(y))
    return [(int(k), int(counts[k])) for k in np.argsort(-counts, kind="stable") if counts[k]]


def _map_lines(y: npt.NDArray[Any], names: Sequence[str], top: int) -> list[str]:
    """Where each channel of a map, (C, H, W), is largest; the channels with the largest values."""
    called = names if len(names) == len(y) else [f"channel {k}" for k in range(len(y))]
    order = np.argsort(-y.max(axis=(1, 2)), kind="stable")[:top]
    lines = []
    for k in order:
        row, column = np.unravel_index(int(y[k].argmax()), y[k].shape)
        lines.append(f"{k:>6}  {y[k].min():.6g} to {y[k].max():.6g}, at row {row}, column {column}  {plain(called[k])}")
    return lines


def _vector_line(y: npt.NDArray[Any]) -> str:
    shown = " ".join(f"{value:.6g}" for value in y[:_SHOWN])
    rest = f" ... ({len(y)} numbers, of length {float(np.linalg.norm(y)):.6g})" if len(y) > _SHOWN else ""
    return f"        {shown}{rest}"


def answer_document(answer: Answer) -> dict[str, Any]:
    """One output for programs: what it is, without its values."""
    low, high = (float(value) for value in (answer.values.min(), answer.values.max()))
    found = {"node": answer.name, "kind": answer.kind, "shape": list(answer.values.shape), "min": low, "max": high}
    if answer.kind == "mask":
        keys = ("class", "pixels")
        found["images"] = [[dict(zip(keys, each, strict=True)) for each in _pixels(y)] for y in answer.values]
    return found


def map_pixels(y: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Maps, (N, C, H, W), as a picture, image under image.

    Of one channel: grey, from the least value to the largest. Of several: at each point the colour of the largest.
    """
    rows = y.reshape(y.shape[0], y.shape[1], y.shape[2], -1).transpose(1, 0, 2, 3).reshape(y.shape[1], -1, y.shape[-1])
    if len(rows) == 1:
        grey = rows[0].astype(np.float64)
        span = float(np.ptp(grey)) or 1.0
        return np.asarray(np.rint((grey - grey.min()) * (255 / span)), np.uint8)
    return _colours(rows.argmax(axis=0))


def mask_pixels(y: npt.NDArray[Any], pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Masks, (N, C, H, W), over their images, (N, 3, H, W) from 0 to 255, as a picture, image under image.

    Half of each pixel is the colour of its class; those of class 0, the background, stay as they are.
    """
    classes = y.argmax(axis=1).reshape(-1, y.shape[-1])
    images = np.rint(pixels.clip(0, 255)).astype(np.uint8).transpose(0, 2, 3, 1).reshape(*classes.shape, 3)
    mixed: npt.NDArray[np.uint8] = ((images.astype(np.uint16) + _colours(classes) + 1) // 2).astype(np.uint8)
    mixed[classes == 0] = images[classes == 0]
    return mixed


def _colours(classes: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The colour of each class, as PASCAL VOC gives them; black for 0."""
    # Each bit triple of the class sets one more bit of red, green and blue.
    colours = [sum((classes >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(8)) for channel in range(3)]
    return np.stack(colours, axis=-1).astype(np.uint8)
