"""What is saved of a port, and whether honest ports are right, and wrong ones wrong where they should be."""

import numpy as np
from honest_ports import CLASSES, folded, in_c

import refnet
from refnet.graph import walk
from refnet.readings import fast

WEIGHTED = ("conv2d", "depthwise_conv2d", "pointwise_conv2d")


def fused_names(graph):
    """What is left when a convolution, its batch norm and its activation are one kernel."""
    readers = graph.readers()
    kept = []
    for node in graph.nodes:
        after = [reader.op for reader in readers[node.name]]
        absorbed = any(op in ("batch_norm", "relu", "relu6", "hard_swish", "hard_sigmoid") for op in after)
        if node.op not in (*WEIGHTED, "batch_norm") or not absorbed:
            kept.append(node.name)
    return kept


def feeds(graph, name, dumped):
    """The dumped tensors that a tensor is computed from, through any that were not dumped."""
    found, stack = set(), list(graph[name].inputs)
    while stack:
        source = stack.pop()
        if source in dumped:
            found.add(source)
        elif source != "input":
            stack.extend(graph[source].inputs)
    return found


def chosen(graph, dumped, mistakes, after, whole):
    """The names to save, in order."""
    order = [node.name for node in graph.nodes]
    if whole:
        return [name for name in order if name in dumped]
    parts = list(dict.fromkeys(name.split(".")[0] for name in order))
    window = set()
    for places, _ in mistakes:
        first = min(map(order.index, places))
        stop = parts.index(order[first].split(".")[0]) + after
        window |= {name for name in order[first:] if parts.index(name.split(".")[0]) <= stop and name in dumped}
    saved = window.union(*(feeds(graph, name, dumped) for name in window))
    return [name for name in order if name in saved]


def exact(graph, params, given, x, wanted):
    """Each wanted tensor in float64 from the given ones nearest before it; yields (name, nodes on the way, array)."""
    x = x.astype(np.float64)
    given = {name: y.astype(np.float64) for name, y in given.items()}
    for name in wanted:
        part = graph.leading_to(name, starts={"input", *given})
        start = {source: given[source] for node in part.nodes for source in node.inputs if source in given}
        try:
            with np.errstate(all="ignore"):
                *_, (_, y) = walk(part, fast, params, {**start, "input": x})
        except ValueError:  # the given tensors do not fit each other
            y = None
        yield name, {node.name for node in part.nodes}, y


def distance(y, z):
    if z is None or y.shape != z.shape:
        return np.inf
    return float(np.abs(y - z).max() / max(np.abs(z).max(), 1e-30))


def setting(cls, size, batch):
    graph = refnet.build(cls.model, width=cls.width, size=size, classes=CLASSES)
    return graph, refnet.random_params(graph), refnet.random_input(graph, batch)


def check_honest(base, size, batch):
    graph, params, x = setting(base, size, batch)
    doubles = {name: array.astype(np.float64) for name, array in params.items()}
    trace = {node.name: y for node, y in walk(graph, fast, doubles, {"input": x.astype(np.float64)})}
    for kind in (base, in_c(base), folded(base), folded(in_c(base))):
        out = kind(params)(x)
        missing = set(trace) - set(out)
        assert kind.__name__ == "Folded" or not missing, missing
        for name, y in out.items():
            assert distance(y, trace[name]) < 4e-5, (kind.__name__, name, distance(y, trace[name]))
    return trace


def check_wrong(graph, params, x, saved, mistakes, free):
    """Every mistake shows in a segment of its own, nothing else shows. Returns the shown tensors."""
    doubles = {name: array.astype(np.float64) for name, array in params.items()}
    wrong, nearest = {}, {}
    for name, on_the_way, y in exact(graph, doubles, saved, x, saved):
        nearest[name] = distance(saved[name], y)
        if nearest[name] > (2e-6 if len(on_the_way) < 8 else 4e-5):  # float32 noise grows from layer to layer
            wrong[name] = on_the_way
    if not free:
        for places, _ in mistakes:
            assert any(on_the_way & set(places) for on_the_way in wrong.values()), ("does not show", places, nearest)
        every = {place for places, _ in mistakes for place in places}
        for name, on_the_way in wrong.items():
            assert on_the_way & every, ("wrong elsewhere", name, nearest[name])
    return {name: nearest[name] for name in wrong}
