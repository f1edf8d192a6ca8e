"""Bugs of what goes into a network: a step of its preprocessing that is another one, from a list.

Preprocessing is a short program: decode, order of colours, resize, divide, mean and standard deviation, layout. What
no list can hold, because it is a number, is solved for in `solved`; how an image is resized is in `pictures`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.bugs.inputs.pixels import PIXEL_RULES, WHITE, WHOLE, bytes_of, column, fed, pixels_of
from refnet.bugs.language.changes import Change, Deferred
from refnet.bugs.language.segments import Segment
from refnet.graph import SOURCE
from refnet.networks.preprocessing import Preprocessing

Array = npt.NDArray[Any]
Rule = Callable[[Array, Preprocessing], Array]

_BLACK_TO_WHITE = np.array([0.0, WHITE]).reshape(1, 2)
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601: what Pillow and OpenCV make of colours
_GREY_709 = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709: what scikit-image makes of them


def _normalised(x: Array, pre: Preprocessing) -> Array:
    normalised: Array = (x - column(pre.mean)) / column(pre.std)
    return normalised


def _whatever(form: str) -> Rule:
    return lambda pixels, own: PIXEL_RULES[form](pixels)


# Pixels to the input of a network, red first: what ports do instead of their own network's rule.
RULES: Mapping[str, Rule] = {
    "0..1": _whatever("0..1"),
    "-1..1": _whatever("-1..1"),
    "0..255": _whatever("0..255"),
    "out": lambda pixels, own: pixels / own.scale,
    "twice": lambda pixels, own: _normalised(_normalised(pixels / own.scale, own), own),
    "no mean": lambda pixels, own: pixels / own.scale / column(own.std),
    "no std": lambda pixels, own: pixels / own.scale - column(own.mean),
    "256": lambda pixels, own: _normalised(pixels / (own.scale * 256 / 255), own),
    "torch": _whatever("torch"),
    "-0.5..0.5": _whatever("-0.5..0.5"),
    "-128..127": _whatever("-128..127"),
    "caffe": _whatever("caffe"),
    "caffe-scaled": _whatever("caffe-scaled"),
    "limited": lambda pixels, own: _normalised((16 + pixels * 219 / 255) / own.scale, own),
    "full": lambda pixels, own: _normalised((pixels - 16) * 255 / 219 / own.scale, own),
    "full cut": lambda pixels, own: _normalised(((pixels - 16) * 255 / 219).clip(0, 255) / own.scale, own),
    "reversed": lambda pixels, own: (pixels / own.scale - column(own.mean[::-1])) / column(own.std[::-1]),
    "mean reversed": lambda pixels, own: (pixels / own.scale - column(own.mean[::-1])) / column(own.std),
    "std reversed": lambda pixels, own: (pixels / own.scale - column(own.mean)) / column(own.std[::-1]),
    # The network's own constants, by steps in another order, left out or made twice.
    "scale last": lambda pixels, own: _normalised(pixels, own) / own.scale,
    "no scale": lambda pixels, own: _normalised(pixels, own),
    "scale twice": lambda pixels, own: _normalised(pixels / own.scale**2, own),
    "scaled constants": lambda pixels, own: (
        (pixels / own.scale - column(own.mean) * own.scale) / (column(own.std) * own.scale)
    ),
    "scaled mean": lambda pixels, own: (pixels / own.scale - column(own.mean) * own.scale) / column(own.std),
    "negative": lambda pixels, own: _normalised((WHITE - pixels) / own.scale, own),
    "other sign": lambda pixels, own: -_normalised(pixels / own.scale, own),
    "std first": lambda pixels, own: pixels / own.scale / column(own.std) - column(own.mean),
    "std times": lambda pixels, own: (pixels / own.scale - column(own.mean)) * column(own.std),
    "mean added": lambda pixels, own: (pixels / own.scale + column(own.mean)) / column(own.std),
    "variance": lambda pixels, own: (pixels / own.scale - column(own.mean)) / column(own.std) ** 2,
    "exchanged": lambda pixels, own: (pixels / own.scale - column(own.std)) / column(own.mean),
    "again": lambda pixels, own: _normalised(_normalised(pixels / own.scale, own) / own.scale, own),
}
_RANGES, _MEANS = ("0..1", "-1..1", "0..255"), ("out", "twice")
_CONSTANTS = tuple(form for form in RULES if form not in (*_RANGES, *_MEANS))
# Ports that read colours in reverse have one of these rules besides; a caffe network's own is for such colours.
_REVERSED = ("own", *_RANGES, "out", "torch", "caffe", "caffe-scaled")
_BY_COLOUR = ("torch", "caffe", "caffe-scaled")  # whose constants may be in the colours' own order, as Keras has them


def input_range(segment: Segment) -> Iterator[Change]:
    """pixels in another range.

    In [0, 1], [-1, 1] or [0, 255].

    Source: https://github.com/tensorflow/tensorflow/issues/46105
    """
    for form in _RANGES:
        yield from _treated(segment, form)


def input_meanstd(segment: Segment) -> Iterator[Change]:
    """mean and standard deviation left out or applied twice."""
    for form in _MEANS:
        yield from _treated(segment, form)


def input_constants(segment: Segment) -> Iterator[Change]:
    """other constants of the input.

    Another divisor, mean or standard deviation, from a list.
    """
    for form in _CONSTANTS:
        yield from _treated(segment, form)


def _treated(segment: Segment, form: str) -> Iterator[Change]:
    """The input as another treatment of the same pixels would have it, where that is another at all."""
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None or not differs(form, own, alone=form in _CONSTANTS):
        return
    yield from fed(segment, form, lambda: RULES[form](pixels_of(segment, own), own), **_facts(form, own))


def _facts(form: str, own: Preprocessing) -> dict[str, float]:
    return {"found": own.scale * 256 / 255, "known": own.scale} if form == "256" else {}


@lru_cache(4096)
def differs(form: str, own: Preprocessing, *, alone: bool = False) -> bool:
    """Whether a rule is another one than the network's; `alone`: and than those before it in the list."""
    before = list(RULES)[: list(RULES).index(form)] if alone else []
    with np.errstate(all="ignore"):  # a mean of zero divides nothing
        made = [_normalised(_BLACK_TO_WHITE / own.scale, own), *(RULES[each](_BLACK_TO_WHITE, own) for each in before)]
        wanted = RULES[form](_BLACK_TO_WHITE, own)
    return bool(np.isfinite(wanted).all()) and not any(_same(wanted, other) for other in made)


def _same(one: Array, other: Array) -> bool:
    return bool(np.allclose(one, other, rtol=1e-12, atol=1e-12))


def input_bgr(segment: Segment) -> Iterator[Change]:
    """colours in reverse order.

    Source: https://github.com/endernewton/tf-faster-rcnn/issues/310
    """
    if SOURCE in segment.given:
        yield Change(SOURCE, given={SOURCE: segment.given[SOURCE][:, ::-1]})


def input_reversed(segment: Segment) -> Iterator[Change]:
    """colours in reverse order, and other constants.

    The network's own constants in their order, or other ones.
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None:
        return
    for form in _REVERSED:
        if form == "own" and len(set(own.mean)) == len(set(own.std)) == 1:
            continue  # then it is the first
        if form == "own" or differs(form, own, alone=True):
            yield from fed(segment, form, partial(_reversed, segment, form, own))
    for form in _BY_COLOUR:
        if differs(form, own):
            yield from fed(segment, f"{form} first", partial(_reversed_last, segment, form, own))


def _reversed_last(segment: Segment, form: str, own: Preprocessing) -> Array:
    return RULES[form](pixels_of(segment, own), own)[:, ::-1]


def _reversed(segment: Segment, form: str, own: Preprocessing) -> Array:
    return by_rule(pixels_of(segment, own)[:, ::-1], own, form)


def by_rule(pixels: Array, own: Preprocessing, form: str) -> Array:
    """What a rule makes of pixels; 'own' is the network's."""
    return _normalised(pixels / own.scale, own) if form == "own" else RULES[form](pixels, own)


# Each image made of a range, or of a mean and a standard deviation, by its own numbers.
_BY_IMAGE: Mapping[str, Callable[[Array], Array]] = {
    "standardised": lambda image: (image - image.mean()) / max(image.std(), 1 / np.sqrt(image.size)),
    "colours": lambda image: (
        (image - image.mean(axis=(1, 2), keepdims=True)) / np.maximum(image.std(axis=(1, 2), keepdims=True), 1e-12)
    ),
    "0..1": lambda image: (image - image.min()) / max(np.ptp(image), 1e-12),
    "-1..1": lambda image: 2 * (image - image.min()) / max(np.ptp(image), 1e-12) - 1,
    "largest": lambda image: image / max(image.max(), 1e-12),
}


def input_by_image(segment: Segment) -> Iterator[Change]:
    """each image normalised by its own numbers.

    By its mean and standard deviation, of all or of each colour, or by its smallest and largest pixel.

    Source: https://www.tensorflow.org/api_docs/python/tf/image/per_image_standardization
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE in segment.given and own is not None:
        for form, rule in _BY_IMAGE.items():
            yield from fed(segment, form, partial(_by_image, segment, rule, own))
        for form in ("0..1", "largest") if any(own.mean) or {*own.std} != {1.0} else ():
            yield from fed(segment, f"{form} first", partial(_stretched, segment, _BY_IMAGE[form], own))


def _by_image(segment: Segment, rule: Callable[[Array], Array], own: Preprocessing) -> Array:
    return np.stack([rule(image) for image in pixels_of(segment, own)])


def _stretched(segment: Segment, rule: Callable[[Array], Array], own: Preprocessing) -> Array:
    """Images by their own numbers, to which mean and standard deviation are applied then."""
    return _normalised(_by_image(segment, rule, own), own)


def input_grey(segment: Segment) -> Iterator[Change]:
    """an image without colours.

    Grey in all channels, or one channel of it three times.
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None or segment.given[SOURCE].shape[1] != len(GREY):
        return
    greys: Mapping[str, Callable[[Array], Array]] = {
        "grey": lambda pixels: (pixels * column(GREY)).sum(axis=1, keepdims=True),
        "709": lambda pixels: (pixels * column(_GREY_709)).sum(axis=1, keepdims=True),
        "mean": lambda pixels: pixels.mean(axis=1, keepdims=True),
        "red": lambda pixels: pixels[:, :1],
        "bytes": lambda pixels: np.rint((pixels * column(GREY)).sum(axis=1, keepdims=True)),
    }
    for form, grey in greys.items():
        rounds = 1.0 if form == "bytes" else 0.0  # by a level more or less, where a sum is a half
        yield from fed(segment, form, partial(_without_colours, segment, grey, own), rounds)
    x = segment.given[SOURCE].astype(np.float64)
    for form, weights in (("input", column(GREY)), ("mean of input", column((1 / 3, 1 / 3, 1 / 3)))):
        yield from fed(segment, form, np.repeat((x * weights).sum(axis=1, keepdims=True), len(GREY), axis=1))


def _without_colours(segment: Segment, grey: Callable[[Array], Array], own: Preprocessing) -> Array:
    return _normalised(np.repeat(grey(pixels_of(segment, own)), len(GREY), axis=1) / own.scale, own)


_COARSER: Mapping[str, Callable[[Array], Array]] = {
    "rounded": np.rint,
    "rounded up": lambda pixels: np.floor(pixels + 0.5),
    "truncated": np.floor,
    "cut": lambda pixels: pixels.clip(0, 255),
}


def input_quantised(segment: Segment) -> Iterator[Change]:
    """pixels made coarser, or cut off.

    Made whole numbers, by rounding or by cutting off; or clipped to a range that is too small.
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE not in segment.given or own is None:
        return
    if bytes_of(segment.given[SOURCE], own) is None:
        pixels = cache(partial(_halves, segment, own))
        for form, coarse in _COARSER.items():
            yield from fed(segment, form, partial(_coarsened, pixels, coarse, own), partial(_turned, pixels, coarse))
    x = segment.given[SOURCE]
    for form, low, high in (("0..1", 0.0, 1.0), ("-1..1", -1.0, 1.0)):
        if x.min(initial=0.0) < low or x.max(initial=0.0) > high:
            yield from fed(segment, form, partial(_clipped, x, low, high))


def _clipped(x: Array, low: float, high: float) -> Array:
    return x.astype(np.float64).clip(low, high)


def _coarsened(pixels: Callable[[], Array], coarse: Callable[[Array], Array], own: Preprocessing) -> Array:
    return _normalised(coarse(pixels()) / own.scale, own)


def _turned(pixels: Callable[[], Array], coarse: Callable[[Array], Array]) -> Array:
    """Of which pixels what the port's own sums round decides a level."""
    return (coarse(pixels() + WHOLE) - coarse(pixels() - WHOLE) > 2 * WHOLE).astype(np.float64)


def _halves(segment: Segment, own: Preprocessing) -> Array:
    """The pixels, those that are whole or half but for rounding made so."""
    pixels = pixels_of(segment, own)
    near = np.rint(2 * pixels) / 2
    return np.where(np.abs(pixels - near) <= WHOLE, near, pixels)


def _srgb(light: Array) -> Array:
    """IEC 61966-2-1: light in [0, 1] to what a picture stores."""
    stored: Array = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return stored


def _light(stored: Array) -> Array:
    light: Array = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    return light


_CURVES: Mapping[str, Callable[[Array], Array]] = {
    "light": _light,
    "stored": _srgb,
    "power": lambda pixels: pixels**2.2,
    "root": lambda pixels: pixels ** (1 / 2.2),
}


def input_gamma(segment: Segment) -> Iterator[Change]:
    """brightness on another curve.

    Pixels as a picture stores them (sRGB) taken for light, or made light of; or raised to 2.2 or its inverse.
    """
    own = segment.whole.recipe.preprocessing
    if SOURCE in segment.given and own is not None:
        for form, curve in _CURVES.items():
            yield from fed(segment, form, partial(_curved, segment, curve, own))


def _curved(segment: Segment, curve: Callable[[Array], Array], own: Preprocessing) -> Array:
    return _normalised(curve((pixels_of(segment, own) / 255).clip(0, 1)) * 255 / own.scale, own)


def input_batch(segment: Segment) -> Iterator[Change]:
    """images of a batch mixed up.

    In reverse order, each in the next one's place, the first one in place of all, or images and channels exchanged.
    """
    if SOURCE not in segment.given or segment.batch < 2:
        return
    x = segment.given[SOURCE]
    N, C, H, W = x.shape
    orders = {
        "reversed": x[::-1],
        "first": np.repeat(x[:1], N, axis=0),
        "channels first": x.swapaxes(0, 1).reshape(x.shape),
    }
    if N != C:  # else that is the same
        orders["images first"] = x.reshape(C, N, H, W).swapaxes(0, 1)
    if N > 2:
        orders |= {"next": np.roll(x, 1, axis=0), "previous": np.roll(x, -1, axis=0)}
    for form, order in orders.items():
        yield Change(SOURCE, form, given={SOURCE: np.ascontiguousarray(order)})


def input_resize(segment: Segment) -> Iterator[Change]:
    """the image resampled otherwise.

    Half a pixel, or a whole one, away; along one axis the last line may come twice, be zero, or be the first one.

    Source: https://github.com/pytorch/vision/issues/6506
    """
    if SOURCE in segment.given:
        for form, move in (("half", _half_away), ("one", _one_away)):
            yield Change(SOURCE, form, given=Deferred([SOURCE], partial(_of_input, segment, move)))
        for fill, (direction, (axis, by)) in itertools.product(_FILLS, _DIRECTIONS.items()):
            move = partial(_moved, axis=axis, by=by, fill=fill)
            yield Change(SOURCE, f"{direction} {fill}", given=Deferred([SOURCE], partial(_of_input, segment, move)))


_FILLS = ("edge", "zero", "wrap")
_DIRECTIONS = {"down": (2, 1), "up": (2, -1), "right": (3, 1), "left": (3, -1)}


def _moved(x: Array, axis: int, by: int, fill: str) -> Array:
    """One pixel on along an axis, or back; what comes in is the edge, zero or from the other side."""
    made = np.roll(x, by, axis)
    line: list[slice | int] = [slice(None)] * x.ndim
    line[axis] = 0 if by > 0 else -1
    if fill != "wrap":
        made[tuple(line)] = x[tuple(line)] if fill == "edge" else 0.0
    return made


def _of_input(segment: Segment, move: Callable[[Array], Array]) -> Mapping[str, Array]:
    return {SOURCE: move(segment.given[SOURCE].astype(np.float64))}


def _half_away(x: Array) -> Array:
    down, right = _on(x, 2), _on(x, 3)
    made: Array = (x + down + right + _on(down, 3)) / 4
    return made


def _one_away(x: Array) -> Array:
    return _on(_on(x, 2), 3)


_on = partial(_moved, by=-1, fill="edge")


def input_turned(segment: Segment) -> Iterator[Change]:
    """the image mirrored or turned.

    Left to right, upside down, by half a turn, or a square one by a quarter of a turn.
    """
    if SOURCE in segment.given:
        x = segment.given[SOURCE]
        turned = {"left-right": x[..., ::-1], "top-bottom": x[:, :, ::-1], "180": x[:, :, ::-1, ::-1]}
        if x.shape[2] == x.shape[3]:
            turned |= {"90": np.rot90(x, 1, (2, 3)), "270": np.rot90(x, 3, (2, 3))}
        for form, y in turned.items():
            yield Change(SOURCE, form, given={SOURCE: y})
