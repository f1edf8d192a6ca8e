"""Graph -> graph: the same function, written as refnet's networks are. Knows no vendor.

Most rewrites look at nodes whose output one node reads, since what others read, or the network returns, must stay.
Where a file's array had to be changed for it, its docstring says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from refnet.errors import FormatError, GraphError
from refnet.files.importers.imported import ImportedGraph
from refnet.files.importers.passes import Nodes, Rewrite, RewritePass
from refnet.graph import Node, is_global
from refnet.ops import CONVOLUTIONS, WINDOWED
from refnet.readings.limits import check_sizes
from refnet.readings.precision import FLOATS
from refnet.readings.shapes import shapes, well_formed

__all__ = ["canonicalise"]

_SIXTH = 1 / 6
_HALF_U = FLOATS["float16"].u  # what rounding to float16 may change, relatively
_LAST = 4 * FLOATS["float64"].u  # a slope of two constants, their product, the six: four roundings of float64 at most
_HALFWAY = {"slope": _SIXTH, "offset": 0.0}


def canonicalise(imported: ImportedGraph) -> ImportedGraph:
    """Write hard sigmoids, swishes, paddings and biases as one node each.

    Raises
    ------
    FormatError
        if two maps are multiplied of which neither is a gate of the other; if a tensor, or the work, is out of all
        proportion to the input.
    """
    for rewrite in _REWRITES:
        rewritten: ImportedGraph | None = imported
        while rewritten is not None:
            imported, rewritten = rewritten, RewritePass(rewritten).applied(rewrite)
    try:
        well_formed(imported.graph)
    except GraphError as error:
        raise FormatError(f"{error}; the file multiplies two maps") from None
    try:
        check_sizes(imported.graph)
    except GraphError as error:
        raise FormatError(str(error)) from None
    return imported


def _affine_of_affine(work: RewritePass, node: Node) -> Nodes:
    """(x s + o) t + p = x (s t) + (o t + p)."""
    first = work.before(node, "affine") if node.op == "affine" else None
    if first is None:
        return ()
    slope, offset = node.attrs["slope"], node.attrs["offset"]
    attrs = {"slope": first.attrs["slope"] * slope, "offset": first.attrs["offset"] * slope + offset}
    return (replace(node, inputs=first.inputs, attrs=attrs),)


def _sum_divided(work: RewritePass, node: Node) -> Nodes:
    """A sum over a map by the number of its points is its mean: what makes a sum of a mean is undone again."""
    pool = work.before(node, "avg_pool2d") if node.op == "affine" and not node.attrs["offset"] else None
    is_mean = pool is not None and abs(node.attrs["slope"] - 1) <= FLOATS["float32"].u
    return (replace(pool, name=node.name),) if pool is not None and is_mean else ()


def _scaled_then_summed(work: RewritePass, node: Node) -> Nodes:
    """A factor before a sum over a map is one behind it; what is left of a gate's rounded slope stays with the gate."""
    pool = work.before(node, "avg_pool2d") if node.op == "affine" and not node.attrs["offset"] else None
    first = work.before(pool, "affine") if pool is not None else None
    if pool is None or first is None or first.attrs["offset"] or abs(first.attrs["slope"] - 1) <= _HALF_U:
        return ()
    slope = first.attrs["slope"] * node.attrs["slope"]
    unscaled = replace(pool, name=work.ahead_of(pool), inputs=first.inputs)
    return unscaled, replace(node, inputs=(unscaled.name,), attrs={"slope": slope, "offset": 0.0})


def _clipped_then_scaled(work: RewritePass, node: Node) -> Nodes:
    """relu6(x) / 6 is a hard sigmoid of slope 1/6 and no offset; relu6(x) t is 6 t times one."""
    act = work.before(node, "relu6") if _is_sixth(node) else None
    return () if act is None else _sixfold(work, node, Node(node.name, "hard_sigmoid", act.inputs, attrs=_HALFWAY))


def _is_sixth(node: Node) -> bool:
    """Whether a node divides by 6, or by what is left of 6 in float16, or in slim's 0.16667."""
    return node.op == "affine" and not node.attrs["offset"] and abs(6 * node.attrs["slope"] - 1) <= _HALF_U


def _sixfold(work: RewritePass, node: Node, made: Node) -> Nodes:
    """`made` in the place of `node`; what the factor of `node` is more or less than 1/6 stays behind it."""
    factor = 6 * node.attrs["slope"]
    if abs(factor - 1) <= _LAST:
        return (made,)
    unscaled = replace(made, name=work.ahead_of(node))
    return unscaled, Node(node.name, "affine", (unscaled.name,), attrs={"slope": factor, "offset": 0.0})


def _affine_then_hard_sigmoid(work: RewritePass, node: Node) -> Nodes:
    """A hard sigmoid of x s + o."""
    first = work.before(node, "affine") if node.op == "hard_sigmoid" else None
    if first is None:
        return ()
    slope, offset = node.attrs["slope"], node.attrs["offset"]
    attrs = {"slope": slope * first.attrs["slope"], "offset": slope * first.attrs["offset"] + offset}
    return (replace(node, inputs=first.inputs, attrs=attrs),)


def _bias_in_hard_sigmoid(work: RewritePass, node: Node) -> Nodes:
    """The 3 of relu6(x + 3) / 6, which converters add to the bias of the convolution before it, comes back from there.

    Changes the bias: b - 3, in float32. Done only where (b - 3) + 3 is the file's b, so that nothing is lost.
    """
    if node.op != "hard_sigmoid" or node.attrs != _HALFWAY:
        return ()
    conv = work.before(node, *CONVOLUTIONS)
    if conv is None or "b" not in conv.params:
        return ()
    b = work.params[f"{conv.name}.b"]
    moved = b - b.dtype.type(3)
    if not np.array_equal(moved + b.dtype.type(3), b):
        return ()
    work.params[f"{conv.name}.b"] = moved
    return (replace(node, attrs={"slope": _SIXTH, "offset": 0.5}),)


def _pairs(node: Node) -> Iterator[tuple[str, int]]:
    """The two ways to see a product: (x, where the other factor is)."""
    if node.op == "scale":
        yield node.inputs[0], 1
        yield node.inputs[1], 0


def _swish(work: RewritePass, node: Node) -> Nodes:
    """x times a sigmoid of x, hard or not, which stays where something else reads it."""
    for x, place in _pairs(node):
        gate = work.before(node, "sigmoid", "hard_sigmoid", place=place, shared=True)
        if gate is None or gate.inputs != (x,):
            continue
        if gate.op == "sigmoid":
            return (Node(node.name, "swish", (x,)),)
        if gate.attrs == {"slope": _SIXTH, "offset": 0.5}:
            return (Node(node.name, "hard_swish", (x,)),)
    return ()


def _factor_of_swish(work: RewritePass, node: Node) -> Nodes:
    """x times s times a hard sigmoid of x is s times a hard swish."""
    for x, place in _pairs(node):
        factor = work.before(node, "affine", place=place)
        gate = work.before(factor, "hard_sigmoid") if factor is not None and not factor.attrs["offset"] else None
        if factor is not None and gate is not None and gate.inputs == (x,) and gate.attrs["offset"] == 0.5:
            product = Node(work.ahead_of(node), "scale", (x, gate.name))
            return product, Node(node.name, "affine", (product.name,), attrs=factor.attrs)
    return ()


def _factor_of_product(work: RewritePass, node: Node) -> Nodes:
    """x s times relu6(x + 3) is s times their product, as TensorFlow's optimizer has it."""
    for _, place in _pairs(node):
        factor = work.before(node, "affine", place=place)
        act = work.before(node, "relu6", place=1 - place)
        if factor is not None and act is not None and _is_sixth(factor):
            product = Node(work.ahead_of(node), "scale", (factor.inputs[0], act.name))
            return product, Node(node.name, "affine", (product.name,), attrs=factor.attrs)
    return ()


def _product_then_sixth(work: RewritePass, node: Node) -> Nodes:
    """x relu6(x + 3) / 6, in this order."""
    product = work.before(node, "scale") if _is_sixth(node) else None
    if product is None:
        return ()
    for x, place in _pairs(product):
        act = work.before(product, "relu6", place=place)
        shifted = work.before(act, "affine") if act is not None else None
        if shifted is not None and shifted.inputs == (x,) and shifted.attrs == {"slope": 1.0, "offset": 3.0}:
            return _sixfold(work, node, Node(node.name, "hard_swish", (x,)))
    return ()


def _pad_then_window(work: RewritePass, node: Node) -> Nodes:
    """Zeros around a map are part of the convolution that reads it."""
    around = work.before(node, "pad") if node.op in WINDOWED else None
    if around is None or around.attrs["mode"] != "constant" or around.attrs["value"]:
        return ()
    sides = zip(around.attrs["pad"], node.attrs["pad"], strict=True)
    pad = tuple((a + c, b + d) for (a, b), (c, d) in sides)
    return (replace(node, inputs=around.inputs, attrs={**node.attrs, "pad": pad}),)


def _clip_of_clip(work: RewritePass, node: Node) -> Nodes:
    """The larger of a number and the lesser of x and another, in either order: one clip."""
    ends = _ends(node)
    first = None if ends is None else work.before(node, "clip", "relu", "relu6")
    inner = None if first is None else _ends(first)
    if ends is None or first is None or inner is None or "clip" not in (node.op, first.op):
        return ()
    low, high = (min(max(end, ends[0]), ends[1]) for end in inner)
    most = FLOATS["float32"].largest
    known = {(0.0, most): "relu", (0.0, 6.0): "relu6"}.get((low, high))
    if known is not None:
        return (Node(node.name, known, first.inputs),)
    if (low, high) == (0, 1):
        return (Node(node.name, "hard_sigmoid", first.inputs, attrs={"slope": 1.0, "offset": 0.0}),)
    return (Node(node.name, "clip", first.inputs, attrs={"low": low, "high": high}),)


def _ends(node: Node) -> tuple[float, float] | None:
    """Between what a node clips."""
    if node.op == "clip":
        return node.attrs["low"], node.attrs["high"]
    most = FLOATS["float32"].largest
    return {"relu": (0.0, most), "relu6": (0.0, 6.0)}.get(node.op)


def _slopes_written_out(work: RewritePass, node: Node) -> Nodes:
    """relu(x) - s relu(-x) is x, or s x where x is negative; s is one number, one for each channel, or for each point.

    Changes the slopes: their sign, where the file holds -s.
    """
    for place in (0, 1) if node.op == "add" else ():
        positive = work.before(node, "relu", place=place)
        found = None if positive is None else _of_negative(work, node, 1 - place, positive.inputs)
        if positive is None or found is None:
            continue
        factor, holder, slot = found
        if holder is None:
            return (Node(node.name, "leaky_relu", positive.inputs, attrs={"slope": -factor}),)
        if abs(factor) == 1:
            work.carry(holder, slot, node, "alpha")
            alpha = work.params[f"{node.name}.alpha"]
            work.params[f"{node.name}.alpha"] = alpha * alpha.dtype.type(-factor)
            return (Node(node.name, "prelu", positive.inputs, {"alpha": holder.params[slot]}),)
    return ()


def _of_negative(
    work: RewritePass, node: Node, place: int, x: tuple[str, ...]
) -> tuple[float, Node | None, str] | None:
    """What relu(-x) is multiplied by: a number, and the node and slot that hold slopes, if there are any."""
    parts = ("affine", "batch_norm", "prelu", "relu")
    factor, holder, slot, before_slopes = 1.0, None, "", 1.0
    made = work.before(node, *parts, place=place)
    while made is not None and made.op != "relu":
        if made.op == "affine" and not made.attrs["offset"]:
            factor *= made.attrs["slope"]
        elif holder is None and (made.op == "prelu" or _is_part(work, made, "gamma")):
            holder, slot, before_slopes = made, "alpha" if made.op == "prelu" else "gamma", factor
        else:
            return None
        made = work.before(made, *parts)
    negative = None if made is None else work.before(made, "affine")
    if negative is None or negative.attrs != {"slope": -1.0, "offset": 0.0} or negative.inputs != x:
        return None
    if slot == "alpha" and factor * before_slopes > 0:  # it is given nothing negative, and so multiplies by 1
        return None
    return factor, holder, slot


def _mean_of_means(work: RewritePass, node: Node) -> Nodes:
    """The mean over one axis, then over the other: over both."""
    first = work.before(node, "avg_pool2d") if node.op == "avg_pool2d" else None
    if first is None or any(any(map(any, each.attrs["pad"])) for each in (first, node)):
        return ()
    axes = [*zip(first.attrs["kernel"], first.attrs["stride"], node.attrs["kernel"], node.attrs["stride"], strict=True)]
    if any(later > 1 and (size, step) != (1, 1) for size, step, later, _ in axes):
        return ()
    both = {**node.attrs, "kernel": tuple(size * later for size, _, later, _ in axes)}
    both["stride"] = tuple(step * after for _, step, _, after in axes)
    made = replace(node, inputs=first.inputs, attrs=both)
    whole = is_global(made, shapes(work.graph)[first.inputs[0]])
    return (replace(made, attrs={**both, "stride": (1, 1)}) if whole else made,)


def _rows_then_columns(work: RewritePass, node: Node) -> Nodes:
    """The nearest rows, then the nearest columns of the same map: both at once."""
    first = work.before(node, "resize_nearest") if node.op == "resize_nearest" else None
    if first is None or {**first.attrs, "size": ()} != {**node.attrs, "size": ()}:
        return ()
    sizes = shapes(work.graph)
    old, between, new = (sizes[name][1:] for name in (first.inputs[0], first.name, node.name))
    changed = [[a != b for a, b in zip(*pair, strict=True)] for pair in ((old, between), (between, new))]
    return () if any(map(all, zip(*changed, strict=True))) else (replace(node, inputs=first.inputs),)


def _parts_of_norm(work: RewritePass, node: Node) -> Nodes:
    """A factor for each channel, then an addend for each: one batch norm."""
    if not _is_part(work, node, "beta"):
        return ()
    first = work.before(node, "batch_norm")
    if first is None or not _is_part(work, first, "gamma"):
        return ()
    work.carry(first, "gamma", node, "gamma")
    return (replace(node, inputs=first.inputs),)


def _centred_then_scaled(work: RewritePass, node: Node) -> Nodes:
    """An addend for each channel, then a factor for each: one batch norm, whose mean is taken away.

    Changes the addend: the mean is its negative.
    """
    if not _is_part(work, node, "gamma"):
        return ()
    first = work.before(node, "batch_norm")
    if first is None or not _is_part(work, first, "beta"):
        return ()
    work.carry(first, "beta", node, "mean")
    work.params[f"{node.name}.mean"] = -work.params[f"{node.name}.mean"]
    return (replace(node, inputs=first.inputs),)


def _bias(work: RewritePass, node: Node) -> Nodes:
    """An addend for each channel after a convolution without bias is its bias."""
    if not _is_part(work, node, "beta"):
        return ()
    conv = work.before(node, *CONVOLUTIONS)
    if conv is None or "b" in conv.params:
        return ()
    work.carry(conv, "w", node, "w")
    work.carry(node, "beta", node, "b")
    for slot in node.params:
        for table in (work.params, work.keys, work.stored):
            table.pop(f"{node.name}.{slot}", None)
    params = {"w": conv.params["w"], "b": node.params["beta"]}
    return (Node(node.name, conv.op, conv.inputs, params, conv.attrs),)


def _bias_behind_sum(work: RewritePass, node: Node) -> Nodes:
    """An addend for each channel after x + conv(y) is that convolution's bias, as TensorFlow's optimizer moves it."""
    total = work.before(node, "add") if _is_part(work, node, "beta") else None
    if total is None:
        return ()
    for place in (1, 0):
        conv = work.before(total, *CONVOLUTIONS, place=place)
        if conv is not None and "b" not in conv.params:
            params = {"w": conv.params["w"], "b": node.params["beta"]}
            biased = Node(work.ahead_of(node, "biased"), conv.op, conv.inputs, params, conv.attrs)
            work.carry(conv, "w", biased, "w")
            work.carry(node, "beta", biased, "b")
            inputs = [biased.name if index == place else each for index, each in enumerate(total.inputs)]
            return biased, Node(node.name, "add", tuple(inputs))
    return ()


def _is_part(work: RewritePass, node: Node, slot: str) -> bool:
    """Whether a batch norm is only a factor ('gamma') or an addend ('beta') for each channel."""
    if node.op != "batch_norm" or node.attrs["eps"]:
        return False
    neutral: dict[str, float] = {"gamma": 1, "beta": 0, "mean": 0, "var": 1}
    return all(
        other == slot or (not work.held(node, other) and bool(np.all(work.params[f"{node.name}.{other}"] == value)))
        for other, value in neutral.items()
    )


_REWRITES: tuple[Rewrite, ...] = (
    _clip_of_clip,
    _slopes_written_out,
    _parts_of_norm,
    _bias,
    _bias_behind_sum,
    _centred_then_scaled,
    _rows_then_columns,
    _pad_then_window,
    _factor_of_product,
    _product_then_sixth,
    _scaled_then_summed,
    _clipped_then_scaled,
    _affine_then_hard_sigmoid,
    _bias_in_hard_sigmoid,
    _factor_of_swish,
    _swish,
    _affine_of_affine,
    _sum_divided,
    _mean_of_means,
)
