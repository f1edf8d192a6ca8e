"""In what order the places of a long segment are looked at, one by one."""

from __future__ import annotations

from refnet.bugs.catalogue import BUGS
from refnet.judge.causes.ways import EXACT

__all__ = ["FREQUENT", "RARER"]

# In what order a long segment's places are looked at: by how often ports are wrong in what a room of bugs is about.
_ORDER = ("norms", "activations", "padding", "blocks", "head", "shaping", "sampling", "weights")
_LIKELY = tuple(sorted(EXACT, key=lambda bug: _ORDER.index(bug.group) if bug.group in _ORDER else len(_ORDER)))
# What ports have wrong at one place most often, of what tells quickly: looked for there before what takes long.
_AT_ONCE = (
    "shortcut-missing",
    "shortcut-extra",
    "act-missing",
    "relu6-relu",
    "act-swap",
    "hswish-swish",
    "se-missing",
    "gate-sigmoid",
    "bias-missing",
    "bn-missing",
    "bn-eps",
    "bn-fix-gamma",
    "pad-same",
    "stride-changed",
    "stride-moved",
    "kernel-flip",
)
FREQUENT = (BUGS["block-missing"], *(bug for bug in _LIKELY if bug.id in _AT_ONCE))
RARER = tuple(bug for bug in _LIKELY if bug.id not in _AT_ONCE)
