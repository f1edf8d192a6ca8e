"""One thing about one tensor of one file, as health finds it."""

from __future__ import annotations

from dataclasses import dataclass

from refnet.bugs.systematic import Scope

__all__ = ["HealthFinding"]


@dataclass(frozen=True)
class HealthFinding:
    """One thing about one tensor.

    Attributes
    ----------
    file : whose
    name : of the tensor, refnet's
    key : the file's own name of it
    kind : 'nan', 'inf', 'negative-variance', 'zero-variance', 'denormal', 'float16-overflow', 'constant', 'absurd' of
        an array; 'dead-channel' and 'pruned' of a unit; 'untrained-norms', 'untrained', 'untrained-affine',
        'untrained-head', 'untrained-part', 'equal-channels', 'scale', 'whole-numbers', 'repeated' of what training
        leaves; 'not-finite', 'float16-overflow' of a run
    fails : whether the file cannot be used so
    count, first : of how many elements or channels, and the index of the first
    form : what of its kind, '' where there is one
    value : the figure that goes with it
    other : the array that goes with it, '' where none does
    steps : of training, after which statistics are so, 0 where none are told
    scope : of a finding about several layers, not all, which these are: of a kind, or from one on
    """

    file: str
    name: str
    key: str
    kind: str
    fails: bool
    count: int
    first: tuple[int, ...]
    form: str = ""
    value: float = 0.0
    other: str = ""
    steps: int = 0
    scope: Scope | None = None
