"""An image file -> the input array of a network, as its vendor would make it.

Reads BMP, GIF, JPEG, PNG, PPM and WebP, by Pillow; of several frames, the first. Refuses other kinds, damaged files,
files that would unpack to an enormous image, and grey of more than 8 bits: which 8 of them to keep is not for a
reader to guess. Knows no network: what to do is stated by `networks.preprocessing`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refnet.errors import FormatError, RequestError
from refnet.files.containers.atomic import atomic_file
from refnet.files.resample import import_pillow, resized
from refnet.networks.preprocessing import Preprocessing

__all__ = [
    "cover",
    "cut_before",
    "decodings",
    "prepare",
    "prepare_mask",
    "read_image",
    "read_mask",
    "shape_to_crop",
    "tightest",
]

# Not all that Pillow knows: reading EPS runs an interpreter, and a damaged TIFF makes its library write to stderr.
_KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP")

_MOST_READ = 40_000_000  # pixels of a file, and
_MOST_BYTES = 200 << 20, 4  # so many bytes of memory, and so many times the file's: a small file is no large image
_BYTES = 7  # of a pixel while it is read: four of Pillow's, three of the array
_BAND = 1 << 20  # pixels that are brought into colour at a time
_MOST_SCANS = 1 << 30  # pixels of a JPEG times its scans: encoders make a dozen, and each goes over all pixels

_ORIENTATION = 0x0112
# How to turn (H, W, 3), by the value of the orientation; 1 is upright.
_TURNS: dict[Any, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: x[::-1].transpose(1, 0, 2),
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x[:, ::-1].transpose(1, 0, 2),
}


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read the pixels of an image file, upright and in colour.

    Parameters
    ----------
    path : of the image

    Returns
    -------
    pixels : (H, W, 3) uint8 array; red, green, blue

    Raises
    ------
    RefnetError : Pillow is missing
    FormatError : there is no such file, or it is not an image that can be read

    Notes
    -----
    The image is turned as its EXIF orientation says, which torchvision's and Keras' own readers do not do; EXIF data
    that cannot be read count as absent. Grey becomes three equal channels, a palette its colours, CMYK what Pillow
    makes of it. Transparency is dropped, not blended: a transparent pixel shows the colour that the file stores for
    it. All this is Pillow's `convert("RGB")`, as with the vendors. Of 16 bits per channel in colour Pillow keeps
    the upper 8, and a PPM or PGM whose maximum is not 255 is stretched to 255.
    """
    return _read(Path(path), _decode)


def decodings(path: str | PathLike[str]) -> dict[str, NDArray[np.uint8]]:
    """What other readers make of an image file, by how: only what differs from `read_image`'s pixels.

    Parameters
    ----------
    path : of the image

    Returns
    -------
    made : (H, W, 3) uint8 arrays; 'white', 'black' and 'grey', its transparency blended with that colour; 'stored',
        not turned as its EXIF orientation says; 'luma', grey in all three channels; '1/2', '1/4' and '1/8', a JPEG
        decoded at that part of its size

    Raises
    ------
    RefnetError, FormatError : as `read_image`
    """
    upright = read_image(path)
    made: dict[str, NDArray[np.uint8]] = {}

    def kept(pillow: ModuleType, file: Path) -> NDArray[np.uint8]:
        with pillow.Image.open(file, formats=_KINDS) as image:
            made.update(_others(pillow, image))
            turned, jpeg, size = _upright(image), image.format == "JPEG", image.size
        for name, part in JPEG_PARTS.items() if jpeg and min(size) >= 8 else ():
            with pillow.Image.open(file, formats=_KINDS) as image:
                image.draft("RGB", tuple(side // part for side in size))
                made[name] = turned(_in_colour(image))
        return upright

    _read(Path(path), kept)
    seen = [upright]
    for name, pixels in list(made.items()):
        if any(np.array_equal(pixels, other) for other in seen):
            del made[name]
        else:
            seen.append(pixels)
    return {name: np.ascontiguousarray(pixels) for name, pixels in made.items()}


JPEG_PARTS = {"1/2": 2, "1/4": 4, "1/8": 8}  # of its size, at which a JPEG can be decoded, by their names
_BEHIND = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}


def _others(pillow: ModuleType, image: Any) -> dict[str, NDArray[np.uint8]]:
    turned = _upright(image)
    made = {"stored": _in_colour(image), "luma": turned(np.asarray(image.convert("RGB").convert("L").convert("RGB")))}
    if "A" in image.getbands() or "transparency" in image.info:
        wide = image.convert("RGBA")
        for name, colour in _BEHIND.items():
            behind = pillow.Image.new("RGBA", wide.size, (*colour, 255))
            behind.alpha_composite(wide)
            made[name] = turned(np.asarray(behind.convert("RGB")))
    return made


def read_mask(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a picture that holds the number of a class for each pixel: a palette's numbers, or grey.

    Returns
    -------
    labels : (H, W) uint8 array

    Raises
    ------
    RefnetError : Pillow is missing
    FormatError : there is no such file, or it is not such a picture
    """
    return _read(Path(path), _decode_mask)


def _read(file: Path, decode: Callable[[ModuleType, Path], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    pillow = import_pillow()
    try:
        _refuse_unless_file(file)
        return decode(pillow, file)
    except FormatError:
        raise
    except pillow.UnidentifiedImageError as error:
        raise FormatError(f"{file}: not an image of a kind that is read here ({', '.join(_KINDS)})") from error
    except Exception as error:  # Pillow's readers raise nearly anything over a damaged file
        reason = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{file}: cannot be read as an image: {reason}") from error


def write_picture(path: str | PathLike[str], pixels: NDArray[np.uint8]) -> None:
    """Write pixels, (H, W) grey or (H, W, 3), as a PNG file, whole or not at all.

    Raises
    ------
    RequestError : the file cannot be written
    RefnetError : Pillow is missing
    """
    image = import_pillow().Image.fromarray(pixels)
    with atomic_file(path) as file:
        image.save(file, format="PNG")


def prepare(
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    size: tuple[int, int],
    resize: Callable[[NDArray[Any], tuple[int, int]], NDArray[Any]] | None = None,
) -> NDArray[np.float32]:
    """Make pixels the input of a network: keep, resize, crop, scale, normalise.

    x[0,k,p,q] = (cropped[p,q,k] / scale - mean[k]) / std[k]

    Parameters
    ----------
    pixels : (H', W', 3) uint8 array; red, green, blue
    preprocessing : the recipe's
    size : (H, W) of the network's input, in pixels
    resize : makes (h, w, 3) pixels (height, width, 3); by default the recipe's interpolation does

    Returns
    -------
    x : (1, 3, H, W) float32 array

    Raises
    ------
    RequestError : `pixels` is no such array, or the resized image would be empty or enormous
    RefnetError : Pillow is missing

    Notes
    -----
    The shorter side is resized to floor(size * side / crop), as torchvision's recipes (256 for 224) and timm's
    crop_pct have it, and the longer in proportion, rounded down as torchvision rounds it. If H != W the image is
    resized just to cover both; torchvision states no rule for that, and timm rounds the longer side to nearest there.
    The crop begins at round(excess / 2), halves to the even number; where the image is smaller than the crop,
    zeros are added around it before anything is scaled. The arithmetic is float32, in the order of the equation,
    which gives the vendors' inputs bit for bit, but for TF-slim's, where the resize rounds too.

    Examples
    --------
    >>> from refnet.networks.preprocessing import KERAS
    >>> prepare(np.full((2, 3, 3), 255, np.uint8), KERAS, (4, 4))[0, :, 0, 0].tolist()
    [1.0, 1.0, 1.0]
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise RequestError(f"pixels must be (H, W, 3) of uint8, not {pixels.shape} of {pixels.dtype}")
    part = _part(pixels, preprocessing, size)  # (H', W', 3) -> (kept, kept, 3)
    shape = shape_to_crop(pixels.shape[:2], preprocessing, size)
    made = resize(part, shape) if resize is not None else resized(part, shape, preprocessing.interpolation)
    image = _centre_crop(made, size)  # (H, W, 3)
    x = image.transpose(2, 0, 1)[np.newaxis].astype(np.float32)  # (1, 3, H, W)
    return np.ascontiguousarray(preprocessing.apply(x))


def prepare_mask(labels: NDArray[Any], preprocessing: Preprocessing, size: tuple[int, int]) -> NDArray[Any]:
    """A mask, (H', W'), where `prepare` puts the pixels that it is of: (H, W), by the nearest ones."""
    part, shape = _part(labels, preprocessing, size), shape_to_crop(labels.shape, preprocessing, size)
    rows, columns = (((np.arange(n) + 0.5) * (m / n)).astype(int) for n, m in zip(shape, part.shape, strict=True))
    return _centre_crop(part[np.ix_(rows, columns)][..., np.newaxis], size)[..., 0]


def shape_to_crop(shape: tuple[int, ...], preprocessing: Preprocessing, size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) to which `prepare` resizes a picture of some shape, and of which the centre is cropped."""
    if preprocessing.resize is None or preprocessing.cut_first:
        return size
    side, crop = preprocessing.resize
    top, left = _cut_off(shape, preprocessing.keep)
    kept = (shape[0] - 2 * top, shape[1] - 2 * left)
    return cover(kept, (size[0] * side // crop, size[1] * side // crop))


def cut_before(image: NDArray[Any], size: tuple[int, int], of: tuple[int, int] = (1, 1)) -> NDArray[Any]:
    """The middle of a picture in the proportions of the input: all that fits, or crop / side of that."""
    (side, crop), (n, to) = of, tightest(image.shape[:2], size)
    H, W = (max(1, each * n * crop // (to * side)) for each in size)
    top, left = (image.shape[0] - H) // 2, (image.shape[1] - W) // 2
    return image[top : top + H, left : left + W]


def tightest(shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Of height and width of a picture, and of the input, those that tell how much fits in its proportions."""
    return min(zip(shape, size, strict=True), key=lambda each: each[0] / each[1])


def _cut_off(shape: tuple[int, ...], fraction: tuple[int, int]) -> tuple[int, int]:
    """What is cut off at each end for the central kept/of of a side, rounded down: one may stay a pixel or two more."""
    kept, of = fraction
    return shape[0] * (of - kept) // (2 * of), shape[1] * (of - kept) // (2 * of)


def _part(pixels: NDArray[Any], preprocessing: Preprocessing, size: tuple[int, int]) -> NDArray[Any]:
    """What is resized of a picture or a mask."""
    top, left = _cut_off(pixels.shape, preprocessing.keep)
    kept = pixels[top : pixels.shape[0] - top, left : pixels.shape[1] - left]
    first = preprocessing.resize if preprocessing.cut_first else None
    return kept if first is None else cut_before(kept, size, first)


def cover(shape: tuple[int, ...], least: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) with the aspect ratio of `shape` that covers `least`."""
    height, width = shape
    if least[0] * width >= least[1] * height:  # the height decides, and the width follows
        return least[0], least[0] * width // height
    return least[1] * height // width, least[1]


def _centre_crop(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """(h, w, 3) -> (*size, 3), zeros around an image that is smaller."""
    lacking = [max(0, wanted - n) for wanted, n in zip(size, image.shape[:2], strict=True)]
    image = np.pad(image, [*((n // 2, (n + 1) // 2) for n in lacking), (0, 0)])
    top, left = (round((n - wanted) / 2) for wanted, n in zip(size, image.shape[:2], strict=True))
    return image[top : top + size[0], left : left + size[1]]


def _refuse_unless_file(file: Path) -> None:
    if not file.exists():
        raise FormatError(f"{file}: there is no such file")
    if file.is_dir():
        raise FormatError(f"{file}: a folder, not an image file")
    if not file.is_file():
        raise FormatError(f"{file}: not a regular file")
    if file.stat().st_size == 0:
        raise FormatError(f"{file}: the file is empty")


def _decode(pillow: ModuleType, file: Path) -> NDArray[np.uint8]:
    """The pixels of a file, or whatever Pillow raises."""
    with warnings.catch_warnings():
        # The others concern transparency and EXIF data, which `read_image` says that it drops.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", pillow.Image.DecompressionBombWarning)
        with pillow.Image.open(file, formats=_KINDS) as image:
            _refuse_large(image, file)
            if image.mode.startswith(("I", "F")):
                raise FormatError(f"{file}: more than 8 bits per grey pixel ({image.mode}); convert it to 8 bits first")
            turned = _upright(image)
            pixels = _in_colour(image)
        return np.ascontiguousarray(turned(pixels))  # (H, W, 3)


def _decode_mask(pillow: ModuleType, file: Path) -> NDArray[np.uint8]:
    """The numbers of a palette, or of grey, as they are stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", pillow.Image.DecompressionBombWarning)
        with pillow.Image.open(file, formats=("PNG", "BMP", "PPM")) as image:
            _refuse_large(image, file)
            if image.mode not in ("L", "P"):
                raise FormatError(f"{file}: a mask holds a class of 8 bits for each pixel, not {image.mode}")
            return np.asarray(image, np.uint8)


def _refuse_large(image: Any, file: Path) -> None:
    """What reading would take is known before anything is unpacked."""
    size = file.stat().st_size
    pixels = image.width * image.height
    most = min(_MOST_READ, (_MOST_BYTES[0] + _MOST_BYTES[1] * size) // _BYTES)
    if pixels > most:
        of = "" if most == _MOST_READ else f" in a file of {size} bytes"
        raise FormatError(
            f"{file}: {image.height} x {image.width} pixels{of}; take an image of at most {most // 10**6} million"
        )
    if image.format == "JPEG" and (scans := file.read_bytes().count(b"\xff\xda")) * pixels > _MOST_SCANS:
        raise FormatError(f"{file}: {image.height} x {image.width} pixels in {scans} scans; save the image again")


def _upright(image: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """What turns the pixels as the EXIF orientation says; data that cannot be read count as none."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # Pillow raises nearly anything over damaged data
        orientation = None
    return _TURNS.get(orientation, lambda pixels: pixels)


def _in_colour(image: Any) -> NDArray[np.uint8]:
    """(H, W, 3), some rows at a time: one image and one array are in memory at most."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _BAND // image.width)
    image.load()
    for top in range(0, image.height, rows):
        end = min(top + rows, image.height)
        pixels[top:end] = np.asarray(image.crop((0, top, image.width, end)).convert("RGB"))
    return pixels
