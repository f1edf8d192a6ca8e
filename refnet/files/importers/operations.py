"""Goes through a file's operations in order and has each translated; what all vendors' translators share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import numpy.typing as npt

from refnet.errors import FormatError, RequestError
from refnet.files.containers.archive import shown
from refnet.files.containers.structure import Contents, Operation, Structure
from refnet.files.importers.builder import GraphBuilder, Map, Value
from refnet.files.importers.imported import ImportedGraph

__all__ = ["Rule", "Source", "answer_tensors", "begin", "follow", "image_source", "made_of", "translated"]

_SMALL = 32 << 20  # bytes that may be computed whatever the file holds
_FEW = 8  # numbers of a constant that says where numbers lie, for four axes: weights are more
_MOST = 10_000  # operations: the longest graphs, whose paddings are computed, have two thousand

# (builder, operation, *inputs) -> its first output, or a list of all of them; an absent input is None
Rule = Callable[..., Value]


class Source(NamedTuple):
    """What a file is given: the arguments of a builder."""

    name: str
    shape: tuple[int, int, int]
    axes: str
    batch: int
    budget: int


def begin(contents: Contents, size: tuple[int, int] | None, axes: str | None = None) -> GraphBuilder:
    """A builder whose input is the file's; see `image_source`."""
    source = image_source(contents, size, axes)
    return GraphBuilder(*source[:3], batch=source.batch, budget=source.budget)


def image_source(contents: Contents, size: tuple[int, int] | None, axes: str | None = None) -> Source:
    """The input of a file, which must be images.

    Parameters
    ----------
    size : (height, width), where the file leaves them open
    axes : of the input, where the vendor fixes them; otherwise the channels are taken to be the 1 or 3 there are

    Raises
    ------
    FormatError : not one input of images
    RequestError : the size is open and not given, or given and another than the file's
    """
    structure = contents.structure
    if structure is None:
        raise FormatError("the file does not say how its arrays are used")
    if len(structure.inputs) != 1:
        raise FormatError(f"takes {len(structure.inputs)} inputs; only networks of one are read")
    ((name, shape),) = structure.inputs.items()
    if len(shape) != 4:
        raise FormatError(f"its input {shown(name)} has {len(shape)} axes; only images are read, which have 4")
    if axes is None:
        axes = "NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    sides = dict(zip(axes, shape, strict=True))
    channels = sides["C"]
    if channels is None:
        raise FormatError(f"its input {shown(name)} leaves the number of channels open: export it with a fixed one")
    height, width = (sides[letter] or side for letter, side in zip("HW", size or (None, None), strict=True))
    if height is None or width is None:
        raise RequestError("the file leaves the size of its images open: give it, as (height, width)")
    if size is not None and (height, width) != tuple(size):
        raise RequestError(f"the file is made for images of {height},{width}, not {size[0]},{size[1]}")
    if min(channels, height, width) < 1:
        raise FormatError(f"its input {shown(name)} has the shape {shape}")
    return Source(name, (channels, height, width), axes, sides["N"] or 1, made_of(contents.arrays))


def made_of(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    """How many bytes may be made of a file's arrays."""
    return _SMALL + 2 * sum(array.size * max(array.itemsize, 4) for array in arrays.values())


def follow(
    structure: Structure, builder: GraphBuilder, constants: Mapping[str, Value], rules: Mapping[str, Rule]
) -> ImportedGraph:
    """Translate the operations that lead to the outputs; see `translated`.

    An end is left out that begins with an operation that has no rule, if no weights are in it: an embedding is often
    divided by its length.
    """
    kept, left_out, maybe = _without_end(structure, builder.source, constants, rules)
    made = builder.finish(translated(kept, builder, constants, rules, maybe))
    return made._replace(left_out=left_out)


def _without_end(
    structure: Structure, source: str, constants: Mapping[str, Value], rules: Mapping[str, Rule]
) -> tuple[Structure, tuple[str, ...], frozenset[str]]:
    """A structure that returns what its end reads, the operations of that end, and what of it may be a constant."""
    operations = _leading_to(structure.outputs, structure.operations)
    first = next((n for n, each in enumerate(operations) if each.op not in rules), len(operations))
    end, behind = list[Operation](), set[str]()
    for each in operations[first:]:
        if not end or behind.intersection(each.inputs):
            end.append(each)
            behind.update(each.outputs)
    weights = {n for n, x in constants.items() if getattr(getattr(x, "array", None), "size", 0) > _FEW}
    if not any(weights.intersection(each.inputs) for each in operations[:first]):
        return structure, (), frozenset()
    read = dict.fromkeys(name for each in end for name in each.inputs if name and name not in behind)
    if not end or weights.intersection(read):
        return structure, (), frozenset()
    before = tuple(name for name in read if name not in constants and name != source)
    outputs = (*(name for name in structure.outputs if name not in behind), *before)
    return structure._replace(outputs=outputs), tuple(each.op for each in end), frozenset(before)


def translated(
    structure: Structure,
    builder: GraphBuilder,
    constants: Mapping[str, Value],
    rules: Mapping[str, Rule],
    maybe: Collection[str] = (),
) -> dict[str, Map]:
    """Have each operation that leads to the outputs appended to a builder; the outputs, by the vendor's names.

    Outputs in `maybe` are passed over if they are constants.

    Raises
    ------
    FormatError : for an operation that has no rule, or that its rule refuses; names the operation and its place
    """
    if not structure.outputs:
        raise FormatError("returns nothing: no network")
    values: dict[str, Value] = {**constants, builder.source: builder.input}
    operations = _leading_to(structure.outputs, structure.operations)
    if len(operations) > _MOST:
        raise FormatError(f"has {len(operations)} operations: no network of this family does")
    for operation in operations:
        where = f"{shown(operation.op)[1:-1]}, which makes {shown(operation.outputs[0])}"
        rule = rules.get(operation.op)
        if rule is None:
            raise FormatError(f"{where}: refnet has no such operation")
        if missing := [name for name in operation.inputs if name and name not in values]:
            raise FormatError(f"{where}: reads {shown(missing[0])}, which nothing before it makes")
        if operation.outputs[0] in values:
            raise FormatError(f"{where}: the file has two tensors of this name")
        try:
            made: Any = rule(builder, operation, *(values[name] if name else None for name in operation.inputs))
        except (FormatError, RequestError) as error:
            raise type(error)(f"{where}: {_line(error)}") from None
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError) as error:
            # An attribute of another type, an input too many, a constant where a tensor should be: the vendor's own
            # checker would say so. Rules stay readable by not repeating it.
            raise FormatError(f"{where}: not as its vendor defines it ({_line(error)})") from error
        values.update(zip(operation.outputs, made if isinstance(made, list) else [made], strict=False))
    outputs: dict[str, Map] = {}
    for name in structure.outputs:
        output = values.get(name)
        if name in maybe and not isinstance(output, Map):
            continue
        if not isinstance(output, Map):
            raise FormatError(f"nothing makes its output {shown(name)}")
        outputs[name] = output
    if not outputs:
        raise FormatError("makes nothing of its input: no network")
    return outputs


def answer_tensors(
    structure: Structure, products: Collection[str], pools: Collection[str], moves: Collection[str]
) -> set[str]:
    """Tensors that a network answers with, up to a softmax: of a layer behind a pool, or of a matrix product.

    Parameters
    ----------
    products, pools : operations that are matrix products, or take a map together
    moves : operations that compute nothing, and those that make probabilities
    """
    makers = {name: op for op in structure.operations for name in op.outputs}

    def back(name: str) -> list[str]:
        chain = [name]
        while (op := makers.get(chain[-1])) is not None and op.op in moves and op.inputs and op.inputs[0] not in chain:
            chain.append(op.inputs[0])
        return chain

    found = set[str]()
    for chain in map(back, structure.outputs):
        last = makers.get(chain[-1])
        before = makers.get(back(last.inputs[0])[-1]) if last is not None and last.inputs else None
        if last is not None and (last.op in products or (before is not None and before.op in pools)):
            found.update(chain)
    return found


def _in_order(operations: Sequence[Operation]) -> Sequence[Operation]:
    """Each behind those whose tensors it reads, as runtimes sort them; else in the file's order."""
    makers = {name: i for i, operation in enumerate(operations) for name in operation.outputs if name}
    reads = [{makers[name] for name in operation.inputs if name in makers} for operation in operations]
    if all(i < reader for reader, made in enumerate(reads) for i in made):
        return operations
    try:
        return [operations[i] for i in TopologicalSorter(dict(enumerate(reads))).static_order()]
    except CycleError:
        return operations


def _leading_to(outputs: Sequence[str], operations: Sequence[Operation]) -> list[Operation]:
    """The operations that outputs need, in order."""
    wanted = set(outputs)
    kept: list[Operation] = []
    for operation in reversed(_in_order(operations)):
        if wanted.intersection(filter(None, operation.outputs)):
            wanted.update(operation.inputs)
            kept.append(operation)
    return kept[::-1]


def _line(error: Exception) -> str:
    """What an error says, on one line: it may quote the file."""
    text = str(error) or type(error).__name__
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:300]
