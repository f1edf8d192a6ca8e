"""The graphs of two files, node by node, as `alignment.diff` finds them, and which batch norms one of them lacks.

Both files were given refnet's names when they were read, so their nodes are pairs by name. A bias of zeros is none.
"""

from __future__ import annotations

from dataclasses import replace

from refnet.alignment.diff import differences, folded_norms
from refnet.alignment.differences import Difference
from refnet.files.checkpoint import Checkpoint
from refnet.graph import Graph

__all__ = ["folded_norms", "structure_differences"]


def structure_differences(one: Checkpoint, other: Checkpoint) -> tuple[Difference, ...]:
    """In what two files are different networks: `known` is the first file's, `found` the second's.

    Where the two are made for images of other sizes, that is one difference, and what follows from it is none.
    """
    return differences(_likened(one, other), _likened(other, one), folded=True)


def _likened(file: Checkpoint, other: Checkpoint) -> Graph:
    """A file's graph without the biases of zeros that the other one goes without.

    Where it has a batch norm as factor and addend, which need no eps, it has the other's.
    """
    nodes = []
    for node in file.graph.nodes:
        twin, bias = other.graph.by_name.get(node.name), file.params.get(f"{node.name}.b")
        if twin is not None and "b" in node.params and "b" not in twin.params and bias is not None and not bias.any():
            node = replace(node, params={slot: shape for slot, shape in node.params.items() if slot != "b"})
        if twin is not None and node.op == twin.op == "batch_norm" and _is_worked_out(file, node.name):
            node = replace(node, attrs=twin.attrs)
        nodes.append(node)
    return Graph(file.graph.recipe, tuple(nodes), file.graph.returns)


def _is_worked_out(file: Checkpoint, name: str) -> bool:
    """Whether a batch norm has neither mean nor variance in the file, but what its factor and addend made of them."""
    made = [f"{name}.{slot}" for slot in ("mean", "var")]
    return not any(each in file.keys for each in made) and file.graph[name].attrs["eps"] == 0
