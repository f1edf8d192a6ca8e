"""Whole modules, saved as objects, as the state dict that PyTorch itself would give of them.

A module is a record whose attributes hold `_parameters`, `_buffers` and `_modules`; names and order are those of
`Module.state_dict`: a module's own parameters, its own buffers, then its submodules one after the other. A TorchScript
module has its tensors and submodules as attributes, in the same order. What a class would do to its own state dict is
not known here, and nothing asks it.

A hostile file may nest modules endlessly, or share them so that names multiply: both are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Submodule
from refnet.files.containers.torch_objects import Record, Tensor

__all__ = ["attributes", "is_module", "is_script", "state_dict", "submodules"]

_DEEPEST = 100  # modules inside modules; known networks have 7
_MOST = 100_000  # modules, tensors and attributes in all; a MobileNet saved whole has 10 thousand
_LONGEST = 1000  # letters of a name, and of a text among a module's attributes

_SCRIPT = "__torch__"  # the package of all classes of TorchScript
_COMPILED = "OptimizedModule"
_NOTHING: Mapping[Any, Any] = {}


def attributes(value: object) -> Mapping[Any, Any]:
    """The attributes of an object that has been saved as a record; none for anything else.

    An object of a class with slots has a pair of dicts, of which the first counts. A traced graph (torch.fx) is made
    anew by a function from its attributes, and a compiled module (torch.compile) from the module inside it.
    """
    if not isinstance(value, Record):
        return _NOTHING
    match value.state, value.arguments:
        case None, (Record() as inner, *_) if value.kind.name == _COMPILED:
            return {"_parameters": {}, "_buffers": {}, "_modules": {"_orig_mod": inner}}
        case dict(found), _:
            return found
        case (dict(found), _), _:
            return found
        case None, (dict(found), *_):
            return found
    return _NOTHING


def is_module(value: object) -> bool:
    """Whether a value is a module saved whole."""
    held = attributes(value)
    return all(isinstance(held.get(table), dict) for table in ("_parameters", "_modules"))


def is_script(value: object) -> bool:
    """Whether a value is a module of a TorchScript archive."""
    return isinstance(value, Record) and value.kind.module.partition(".")[0] == _SCRIPT


def state_dict(module: Record) -> dict[str, Tensor]:
    """Every parameter and persistent buffer by PyTorch's own name, in PyTorch's order.

    Raises
    ------
    FormatError
        if modules are nested too deep or are too many, or if a parameter is something else than a tensor: names it.
    """
    return {f"{prefix}{name}": tensor for prefix, one in _walk(module) for name, tensor in _tensors(prefix, one)}


def submodules(module: Record, program: Mapping[str, Mapping[str, Any]] = _NOTHING) -> dict[str, Submodule]:
    """What every module in a module is, by its path; the whole has the path ''. Errors as of `state_dict`.

    Parameters
    ----------
    program : by the class of a TorchScript archive, what its program says of the layer that it is
    """
    return {
        prefix[:-1]: Submodule(_kind(one), {**program.get(f"{one.kind}", _NOTHING), **_settings(one)})
        for prefix, one in _walk(module)
    }


def _kind(module: Record) -> str:
    """A module's class; TorchScript puts all in a package of its own, and numbers those that are called alike."""
    parts = f"{module.kind}".split(".")
    return ".".join(part for part in parts if part != _SCRIPT and not part.startswith("___torch_mangle_"))


def _walk(module: Record) -> Iterator[tuple[str, Record]]:
    """Every module with the prefix of its names, before those inside it."""
    waiting, count = [("", module, 0)], 1
    while waiting:
        prefix, one, depth = waiting.pop()
        yield prefix, one
        children = _children(prefix, one)
        count += len(children) + len(attributes(one))
        if depth == _DEEPEST or count > _MOST or len(prefix) > _LONGEST:
            raise FormatError(
                f"modules are nested deeper than {_DEEPEST}, or are more than {_MOST:,}, at {shown(prefix)}: refused"
            )
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children)]


def _children(prefix: str, module: Record) -> list[tuple[str, Record]]:
    if is_script(module):
        return [(str(name), child) for name, child in attributes(module).items() if is_script(child)]
    found = []
    for name, child in attributes(module).get("_modules", _NOTHING).items():
        if child is None:  # a place that is left empty
            continue
        if not isinstance(name, str) or not is_module(child):
            raise FormatError(f"{shown(f'{prefix}{name}')} is no module: save model.state_dict()")
        found.append((name, child))
    return found


def _tensors(prefix: str, module: Record) -> Iterator[tuple[str, Tensor]]:
    held = attributes(module)
    if is_script(module):
        yield from ((str(name), value) for name, value in held.items() if isinstance(value, Tensor))
        return
    transient = _texts(held.get("_non_persistent_buffers_set"))
    for table in (held["_parameters"], held.get("_buffers", _NOTHING)):
        if not isinstance(table, dict):
            raise FormatError(f"the buffers of {shown(prefix)} are no dict: the file is damaged")
        for name, value in table.items():
            if value is None or name in transient:
                continue
            if not isinstance(name, str) or not isinstance(value, Tensor):
                raise FormatError(f"{shown(f'{prefix}{name}')} is {called_by(value)}, not a tensor")
            yield name, value


def called_by(value: object) -> str:
    """What a value is, in a word: the class that a file names for a record, else the type."""
    return shown(value.kind)[1:-1] if isinstance(value, Record) else type(value).__name__


def _texts(held: object) -> frozenset[str]:
    """The texts in a set, which Python 2 and 3 write in two ways."""
    elements: object = held
    if isinstance(held, Record):
        elements = held.elements if held.elements is not None else next(iter(held.arguments), ())
    if not isinstance(elements, list | tuple) or len(elements) > _LONGEST:
        return frozenset()
    return frozenset(text for text in elements if isinstance(text, str))


def _settings(module: Record) -> dict[str, Any]:
    """A module's own numbers, texts and tuples of whole numbers: stride, eps, inplace."""
    return {
        name: value
        for name, value in attributes(module).items()
        if isinstance(name, str) and not name.startswith("_") and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST
    if isinstance(value, tuple):
        return len(value) <= 4 and all(type(number) is int for number in value)
    return isinstance(value, bool | int | float)
