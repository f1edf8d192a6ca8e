"""One file, or one against another: identity, structure, values, behaviour and health, put together and judged.

A difference is meant or a fault; the policy says which. Everything here is arrays and graphs; `report` says it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.alignment.differences import STRUCTURE, Difference
from refnet.bugs.language.changes import Mistake
from refnet.errors import FormatError
from refnet.files import containers
from refnet.files.checkpoint import Checkpoint
from refnet.files.importers import in_real_numbers
from refnet.judge.causes.budget import Search, SearchBudget
from refnet.shares import at_once
from refnet.threads import on_one_thread
from refnet.verification.array_findings import ArrayFinding
from refnet.verification.behaviour import Behaviour, Remark, Trace, behave, inputs, traced
from refnet.verification.entries import OtherEntry, entry_of
from refnet.verification.findings import HealthFinding
from refnet.verification.health import examine, of_twin
from refnet.verification.health_groups import HealthGroup, health_groups
from refnet.verification.moved_on import shifted_too
from refnet.verification.other_networks import OtherNetwork, other_network
from refnet.verification.patterns import FaultPattern, common
from refnet.verification.policy import DEFAULT
from refnet.verification.rearranged import Rearranged, factors_left, rearranged
from refnet.verification.renormalised import renormalised
from refnet.verification.sides import Sides, both, pair, read_side
from refnet.verification.structure import structure_differences
from refnet.verification.training import never_loaded
from refnet.verification.values import match_arrays, taken_back

__all__ = ["Verified", "verify"]

Array = npt.NDArray[Any]

_OTHER = ("stale", "retrained")
# Times as long as both runs of the probe, what follows the values takes: ten runs of one image, a verdict on each
# tensor, and a look at each; 7.2 at 224 x 224, half as much of what is not judged.
_BEHIND = 8
_ALIKE = 0.5  # correlation: weights that are more alike were trained on


@dataclass(frozen=True, eq=False)
class Verified:
    """What was found out about one file, or about two.

    Attributes
    ----------
    file : the file, or the original of two
    sides : both, where there are two
    structure : in what the copy is another network than the original; of one file: than the known network
    values : tensor by tensor
    behaviour : what both make of a probe
    health : of each file
    allowed : the policy
    entry : where most weights differ: the entry of a checkpoint that holds those of the other file
    rearranged : what the copy makes otherwise and takes back, so that it computes the same
    search : how many tensors were looked at, and whether time ended before it was said what happened to all
    """

    file: Checkpoint
    sides: Sides | None
    structure: tuple[Difference, ...]
    values: tuple[ArrayFinding, ...]
    behaviour: Behaviour
    health: tuple[HealthFinding, ...]
    allowed: tuple[str, ...]
    search: Search = field(default_factory=Search)
    entry: OtherEntry | None = None
    rearranged: Rearranged | None = None

    @property
    def renamed(self) -> bool:
        """Whether both files name their weights, and not alike."""
        if self.sides is None:
            return False
        schemes = {self.sides.original.scheme, self.sides.copy.scheme}
        return len(schemes) > 1 and "structure" not in schemes

    @property
    def needs(self) -> tuple[str, ...]:
        """What a policy must allow for the two to be the same, the faults apart."""
        words = {word for value in self.values if not value.fault for word in value.needs}
        words |= {"renamed"} if self.renamed else set()
        words |= {change.needs for change in self.structure if self.sides is not None}
        if self.sides is not None and _in_integers(self.sides.original):
            words -= {"int8"}  # the original is in 8 bits itself
        return tuple(sorted(words))

    @property
    def faults(self) -> list[ArrayFinding]:
        """The tensors that are wrong."""
        return [value for value in self.values if value.fault]

    @property
    def pattern(self) -> FaultPattern | None:
        """What all faults have in common, where there are many."""
        if self.sides is None:
            return None
        return common(self.sides.original.graph, self.values, self.sides.copy.graph)

    @property
    def other(self) -> OtherNetwork | None:
        """Which network the copy is, where that explains all differences of structure."""
        return None if self.sides is None else other_network(self.sides.original, self.sides.copy, self.structure)

    @property
    def unmeant(self) -> tuple[str, ...]:
        """What is there and was not allowed."""
        return tuple(word for word in self.needs if word not in self.allowed)

    @property
    def unhealthy(self) -> list[HealthFinding]:
        """The health findings that fail a file; what float16 cannot hold does where float16 is meant."""
        half = "float16" in self.allowed and self.sides is not None
        return [each for each in self.health if each.fails or (half and each.key and each.kind == "float16-overflow")]

    def health_groups(self, findings: Iterable[HealthFinding]) -> list[HealthGroup]:
        """Some of the health findings, those together that say the same of a file."""
        files = [self.file] if self.sides is None else [self.sides.original, self.sides.copy]
        return health_groups(findings, files)

    @property
    def strange(self) -> bool:
        """Whether the copy behaves otherwise though its structure and values hold."""
        changed = any(change.needs == STRUCTURE for change in self.structure)
        return bool(self.behaviour.wrong) and not changed and not self.faults

    @property
    def holds(self) -> bool:
        """Whether the copy is the original but for what was meant, and no file is unhealthy."""
        return not (self.faults or self.unmeant or self.unhealthy or self.strange)


@on_one_thread
def verify(
    path: str | Path | Checkpoint,
    against: str | Path | Checkpoint | None = None,
    *,
    allow: tuple[str, ...] = DEFAULT,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | None = None,
    output: Sequence[str] = (),
    contents: Mapping[str, containers.Contents] | None = None,
    seconds: float = 60.0,
    spent: float = 0.0,
    tell: Callable[[int, int], object] | None = None,
) -> Verified:
    """Look at a file, and hold another one against it.

    Parameters
    ----------
    path, against : files of weights in any container, golden packs, or what `identify` said of a file. The original is
        the one that is not folded, or not rounded; where neither is, the first.
    allow : differences that are meant, words of `policy.WORDS`
    model, width, size : for files that cannot tell, see `files.checkpoint.identify`
    output : the tensors at which both networks are to end; what does not lead there is not looked at
    contents : by path, what is in the files that have been read
    seconds, spent : how long it may take, and how much of that has passed before; what is wrong is said in any case,
        and it is looked for what happened to it while there is time
    tell : is given how many tensors were looked at and how many there are, as that goes on

    Returns
    -------
    Verified

    Raises
    ------
    FormatError, RequestError
        if a file cannot be read, or is no network that refnet knows or can read; one of two files may lack arrays, or
        have them in another shape, and is then read like the other.

    Examples
    --------
    >>> import tempfile
    >>> from refnet import load, write_weights
    >>> net, folder = load(), tempfile.mkdtemp()
    >>> for name, fold in (("one", False), ("folded", True)):
    ...     written = write_weights(net.graph, net.params, f"{folder}/{name}.npz", fold=fold)
    >>> found = verify(f"{folder}/one.npz", f"{folder}/folded.npz", model="refnet/digits")
    >>> found.holds, found.needs
    (True, ('folded',))
    """
    budget = SearchBudget(seconds, tell, spent=spent)
    held = _held([path] if against is None else [path, against], contents or {})
    if against is None:
        file = read_side(path, model=model, width=width, size=size, contents=held.get(str(path)))
        file = file.returning(output) if output else file
        trace = traced(file, inputs(file))
        remark = trace if isinstance(trace, Remark) else None
        health = examine(file, None if isinstance(trace, Remark) else trace)
        return Verified(file, None, file.differences, (), Behaviour(remark=remark), tuple(health), allow)
    files = both(path, against, model=model, width=width, size=size, contents=held)
    sides = pair(*files, size=size, output=output)
    structure = structure_differences(sides.original, sides.copy)
    x, twins = inputs(sides.original), sides.twins
    begun = budget.spent
    first, second = _traces(sides, x)
    budget.keep(_BEHIND * (budget.spent - begun))
    steps, others = (_steps(side, held) for side in (sides.copy, sides.original))
    values = tuple(match_arrays(sides, steps, others, budget))
    moved = _rearranged(sides, steps, values)
    if moved is not None:
        values = taken_back(values, sides, moved.units, moved.left)
        structure = tuple(factors_left(structure, moved))
    values = renormalised(_unloaded(shifted_too(values, sides), sides), sides)
    behaviour = behave(
        sides, x, first, second, _short(values), _moved(values), moved.nodes if moved is not None else ()
    )
    looked = zip((sides.original,) if twins else (sides.original, sides.copy), (first, second), strict=False)
    found = at_once([partial(examine, side, None if isinstance(y, Remark) else y) for side, y in looked])
    health = [each for one in found for each in one]
    health += of_twin(health, sides.copy) if twins else []
    entry = entry_of(sides) if any(value.kind == "retrained" for value in values) else None
    return Verified(
        sides.original, sides, structure, values, behaviour, tuple(health), allow, budget.search, entry, moved
    )


def _held(
    paths: Sequence[str | Path | Checkpoint], contents: Mapping[str, containers.Contents]
) -> dict[str, containers.Contents]:
    """What is in the files, read once where it was not, and with operations on real numbers."""
    files = [str(path) for path in paths if not isinstance(path, Checkpoint) and Path(path).is_file()]
    found = ((path, contents[path] if path in contents else containers.read(path)) for path in files)
    return {path: _in_real_numbers(path, each) for path, each in found}


def _in_real_numbers(path: str, contents: containers.Contents) -> containers.Contents:
    try:
        return in_real_numbers(contents)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _traces(sides: Sides, x: Array | Remark) -> tuple[Trace | Remark, Trace | Remark]:
    """What both networks make of the probe, or why one does not; what twins make is the same."""
    if sides.copy.graph.input_shape != sides.original.graph.input_shape:
        return traced(sides.original, x), Remark("size", {"file": sides.copy.path})
    if not sides.twins:
        first, second = at_once([partial(traced, side, x) for side in (sides.original, sides.copy)])
        return first, second
    first = traced(sides.original, x)
    return first, traced(sides.copy, x) if isinstance(first, Remark) else first


def _rearranged(sides: Sides, steps: Mapping[str, Array], values: Sequence[ArrayFinding]) -> Rearranged | None:
    """What the copy makes otherwise and takes back; None where it has arrays of its own."""
    wrong = {value.name for value in values if value.fault}
    if not wrong or any(value.kind in ("missing", "extra", "shape") for value in values):
        return None
    return rearranged(sides, steps, [name for name, unit in sides.second.items() if wrong & {*unit.names.values()}])


def _unloaded(values: Sequence[ArrayFinding], sides: Sides) -> tuple[ArrayFinding, ...]:
    """Stale units whose weights are as initialisers draw them were never loaded, nor was what is constant in them."""
    stale = {value.name: value.mistake.facts for value in values if value.kind in _OTHER and value.mistake}
    other = {name for name, facts in stale.items() if facts.get("alike", 1.0) <= _ALIKE}
    wrong = [name for name, unit in sides.second.items() if unit.names.get("w") in other and name in sides.first]
    drawn = never_loaded(wrong, sides.first, sides.second)
    begun = {key for name in drawn for key in sides.second[name].names.values()}
    begun = {key for key in begun if key in stale or not np.ptp(sides.copy.params.get(key, 0.0))}

    def told(value: ArrayFinding) -> ArrayFinding:
        is_begun = value.fault and value.name in begun
        said = Mistake("", value.name, "begun", {})
        return replace(value, kind="unloaded", mistake=said, rounding=None) if is_begun else value

    return tuple(map(told, values))


def _in_integers(file: Checkpoint) -> bool:
    """Whether a file holds its weights as integers."""
    return any(np.dtype(dtype).kind in "iu" for name, dtype in file.stored.items() if name.endswith(".w"))


def _moved(values: tuple[ArrayFinding, ...]) -> set[str]:
    """The biases that were rounded with a constant added."""
    return {each.name for each in values if not each.fault and each.rounding and each.rounding.form == "moved"}


def _short(values: tuple[ArrayFinding, ...]) -> str:
    """The shortest format that weights were rounded to."""
    needed = {word for value in values if not value.fault for word in value.needs}
    return next((word for word in ("int8", "bfloat16", "float16") if word in needed), "")


def _steps(file: Checkpoint, contents: Mapping[str, containers.Contents]) -> dict[str, Array]:
    """Quantisation steps of what a file stores as integers, to meet the tensors' shapes."""
    integers = [name for name, dtype in file.stored.items() if np.dtype(dtype).kind in "iu"]
    if not integers:
        return {}
    held = contents[file.path] if file.path in contents else _in_real_numbers(file.path, containers.read(file.path))
    scales, steps = {} if held.structure is None else held.structure.scales, {}
    for name in integers:
        scale, shape = scales.get(file.keys[name]), file.params[name].shape
        if scale is not None and scale.scales.size in (1, *shape[:1]):
            # Vendors scale by output channel, which is our first axis whatever theirs is.
            step = np.asarray(scale.scales, np.float64).reshape(-1, *(1,) * (len(shape) - 1))
            steps[name] = np.broadcast_to(step, shape)
    return steps
