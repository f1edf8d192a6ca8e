"""Where in a checkpoint the network is: its state dict, or the module itself, out of what training saves beside it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from refnet.errors import FormatError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Submodule
from refnet.files.containers.torch_modules import attributes, called_by, is_module, is_script, state_dict, submodules
from refnet.files.containers.torch_objects import Named, Record, Tensor

__all__ = ["Unwrapped", "unwrapped"]

_DEEPEST = 2  # wrappers inside one another

# In the order in which they are looked for: the trained weights before their running average.
WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_state", "net", "net_state_dict", "network", "weights"),
    *("params", "state", "module"),
)
AVERAGES = ("state_dict_ema", "model_ema", "ema", "ema_state_dict", "model_ema_state_dict", "params_ema")
# What optimizers, schedulers and callbacks are saved under may look like a network, and is none.
_NEVER = ("optim", "sched", "callback", "loop", "hyper", "scaler", "loss", "criterion")


class Unwrapped(NamedTuple):
    """The network in a checkpoint.

    Attributes
    ----------
    tensors : by their keys, in order
    submodules, wrappers, beside : as of `structure.Contents`
    """

    tensors: dict[str, Tensor]
    submodules: Mapping[str, Submodule]
    wrappers: tuple[str, ...]
    beside: tuple[str, ...]


def unwrapped(
    checkpoint: object, entry: str | None = None, program: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> Unwrapped:
    """Find the network.

    Parameters
    ----------
    entry : of the outermost wrapper, which it is in; by default the likeliest
    program : of a TorchScript archive, see `submodules`

    Raises
    ------
    FormatError
        if there is none, or several that cannot be told apart, or if an entry of its state dict is no tensor: names it.
    """
    wrappers: list[str] = []
    beside: list[str] = []
    for _ in range(_DEEPEST):
        name = entry if entry is not None and not wrappers else _entry(checkpoint)
        if name is None:
            break
        held = _held(checkpoint)
        if name not in held:
            raise FormatError(f"has no entry {shown(name)}")
        wrappers.append(name)
        beside += [str(other) for other in held if isinstance(other, str) and other != name]
        checkpoint = held[name]
    if isinstance(checkpoint, Record) and (is_module(checkpoint) or is_script(checkpoint)):
        parts = submodules(checkpoint, program)
        tensors = state_dict(checkpoint)
        if not tensors:
            raise FormatError(f"{called_by(checkpoint)} holds no tensors")
        return Unwrapped(tensors, parts, tuple(wrappers), tuple(beside))
    return Unwrapped(_checked(checkpoint), {}, tuple(wrappers), tuple(beside))


def _held(value: object) -> Mapping[Any, Any]:
    """What a value holds by name: a dict's entries, those of what stands for one, an object's attributes."""
    if isinstance(value, dict):
        return value
    if isinstance(value, Record) and value.entries is not None:
        return value.entries
    return attributes(value)


def _entry(checkpoint: object) -> str | None:
    """The name of the entry that wraps the network; None where the value is the network itself, or nothing is found."""
    if is_module(checkpoint) or is_script(checkpoint):
        return None
    held = _held(checkpoint)
    for name in WRAPPERS:
        if _holds_network(held.get(name)):
            return name
    others = [name for name, value in held.items() if isinstance(name, str) and _is_named_network(name, value)]
    if len(others) > 1:
        raise FormatError(f"holds {len(others)} networks, {', '.join(map(shown, others[:4]))}: save one of them alone")
    if others:
        return others[0]
    return next((name for name in AVERAGES if _holds_network(held.get(name))), None)


def _holds_network(value: object, deeper: int = _DEEPEST - 1) -> bool:
    """Whether a value is a network or wraps one: not a dict of settings, nor what an optimizer remembers."""
    held = _held(value)
    if is_module(value) or any(isinstance(key, str) and isinstance(one, Tensor) for key, one in held.items()):
        return True
    return deeper > 0 and any(_holds_network(held.get(name), deeper - 1) for name in (*WRAPPERS, *AVERAGES))


def _is_named_network(name: str, value: object) -> bool:
    """Whether an entry under any other name is a network: a module, or something with the weights of a convolution."""
    if name in AVERAGES or any(word in name.lower() for word in _NEVER):
        return False
    held = _held(value)
    return is_module(value) or any(isinstance(one, Tensor) and len(one.size) == 4 for one in held.values())


_PACKED = "._packed_params._packed_params"  # of quantised linear layers: a tuple of weights and bias


def _unpacked(held: Mapping[Any, Any]) -> dict[Any, Any]:
    """Quantised linear layers under the names that those of floats have."""
    made: dict[Any, Any] = {}
    for key, value in held.items():
        packed = isinstance(key, str) and key.endswith(_PACKED) and isinstance(value, tuple)
        if packed and len(value) == 2:
            name = key.removesuffix(_PACKED)
            made |= {
                f"{name}.{slot}": each for slot, each in zip(("weight", "bias"), value, strict=True) if each is not None
            }
        elif not (isinstance(key, str) and key.endswith("._packed_params.dtype") and isinstance(value, Named)):
            made[key] = value
    return made


def _checked(checkpoint: object) -> dict[str, Tensor]:
    """The tensors of a state dict."""
    held = _held(checkpoint)
    if isinstance(checkpoint, Record | Named) and not held:
        raise FormatError(f"holds {called_by(checkpoint)}, which is neither a module nor a state dict")
    if not isinstance(checkpoint, dict | Record):
        raise FormatError(f"holds {type(checkpoint).__name__}, not a state dict: save model.state_dict()")
    if not held:
        raise FormatError("holds no tensors: save model.state_dict()")
    held = _unpacked(held)
    for key, value in held.items():
        if not isinstance(key, str):
            raise FormatError(f"has {type(key).__name__} as the name of a tensor, not text: save model.state_dict()")
        if not isinstance(value, Tensor):
            raise FormatError(f"{shown(key)} is {called_by(value)}, not a tensor: save model.state_dict()")
    return dict(held)
