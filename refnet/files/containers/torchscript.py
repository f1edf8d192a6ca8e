"""What the program of a TorchScript archive says of its layers: strides, pads, eps. It is searched as text, never run.

A scripted layer has its settings as constants of its class, a traced one in the call of its operation. Classes that are
called alike are numbered by the folder or file that they are in; a traced layer has a class of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from refnet.files.containers.archive import Archive

__all__ = ["program_settings"]

_LONGEST = 1 << 20  # bytes of a file of the program; that of a whole MobileNet has 60 thousand
_MOST = 1 << 25  # of all of them
_CLASS = re.compile(r"^class (\w+)\(\w+\):$", re.MULTILINE)
_CONSTANT = re.compile(r"^  (stride|padding|dilation) : Final\[[^\n]*\] = \((\d{1,6}), (\d{1,6})\)$", re.MULTILINE)
_EPS = re.compile(r"^  eps : Final\[float\] = ([\d.e+-]{1,30})$", re.MULTILINE)
_PAIR = r"\[(\d{1,6}), (\d{1,6})\]"
_CONVOLVED = re.compile(rf"\btorch\.(?:_convolution|conv2d)\((?:\w+, ){{3}}{_PAIR}(?:, {_PAIR})?(?:, {_PAIR})?")
_NORMED = re.compile(r"\btorch\.batch_norm\((?:\w+, ){6}[\d.e+-]+, ([\d.e+-]{1,30}),")
_UNSAID = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}  # what a call leaves out


def program_settings(archive: Archive, folder: str) -> Mapping[str, Mapping[str, Any]]:
    """By the class that a record names, '__torch__.models.___torch_mangle_3.Conv2d': stride, padding, dilation, eps.

    Of a class that convolves or normalises more than once nothing is told: it is no layer.

    Parameters
    ----------
    folder : of the archive in which its members are, with '/' at its end, or ''
    """
    files = {name: size for name, size in archive.members.items() if name.startswith(f"{folder}code/")}
    if sum(files.values()) > _MOST:
        return {}
    found: dict[str, Mapping[str, Any]] = {}
    for name, size in files.items():
        if name.endswith(".py") and size <= _LONGEST:
            package = name.removeprefix(f"{folder}code/").removesuffix(".py").replace("/", ".")
            for kind, body in _classes(archive.read(name).decode("utf-8", "replace")):
                found[f"{package}.{kind}"] = _settings(body)
    return found


def _classes(text: str) -> Iterator[tuple[str, str]]:
    """The name and the body of each class."""
    _, *parts = _CLASS.split(text)
    yield from zip(parts[::2], parts[1::2], strict=True)


def _settings(body: str) -> Mapping[str, Any]:
    """What a class says of itself."""
    told: dict[str, Any] = {name: (int(one), int(other)) for name, one, other in _CONSTANT.findall(body)}
    calls = _CONVOLVED.findall(body)
    if not told and len(calls) == 1:
        pairs = zip(_UNSAID.items(), zip(calls[0][::2], calls[0][1::2], strict=True), strict=True)
        told = {name: (int(one), int(other)) if one else unsaid for (name, unsaid), (one, other) in pairs}
    numbers = _EPS.findall(body) or _NORMED.findall(body)
    if len(numbers) == 1 and (eps := _number(numbers[0])) is not None:
        told["eps"] = eps
    return told


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
