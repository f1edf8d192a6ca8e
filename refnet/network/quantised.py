"""A graph of integers with what its nodes need: call it, trace it, have its twin in floats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node
from refnet.network import Network, images_for
from refnet.networks.build import image_size
from refnet.networks.rewrite import returning
from refnet.readings.integer import fast
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import DEFAULT_KERNELS, rules_of, run_integers

__all__ = ["AnyNetwork", "QuantisedNetwork", "in_floats"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A graph of integers and what its nodes need, run as a runtime runs it, bit for bit.

    Beside `Network` and not one whose params are integers: nothing of that (a session, folding, other precisions and
    sizes) is so of integers. Its graph is the file's own, whose every tensor is rounded; the operations are rules of
    `readings.integer`, the names those of the known network, where it is one.

    Parameters
    ----------
    graph, params, quantised : see `readings.quantised.run_integers`
    kernels : whose arithmetic, a name in `readings.integer.KERNELS`
    twin : the real network that this one approximates, (graph, params); None where refnet's operations cannot say it
    keys : by node, the file's own name of its tensor

    Examples
    --------
    >>> from refnet.graph import Recipe
    >>> graph = Graph(Recipe("", 1.0, (1, 1), classes=1, channels=1), (Node("act", "relu6", ("input",)),))
    >>> q = {"input": Quantisation(0.1, 0, None, "int8"), "act": Quantisation(6 / 255, -128, None, "int8")}
    >>> net = QuantisedNetwork(graph, {}, q)
    >>> net(np.full((1, 1, 1, 1), 7.0, np.float32)).item(), net.trace(np.full((1, 1, 1, 1), 70, np.int8))
    (6.0, {'act': array([[[[127]]]], dtype=int8)})
    """

    graph: Graph
    params: Mapping[str, Any]
    quantised: Mapping[str, Quantisation]
    kernels: str = DEFAULT_KERNELS
    twin: tuple[Graph, Mapping[str, Array]] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules_of(self.kernels)

    def __repr__(self) -> str:
        recipe = self.graph.recipe
        return f"QuantisedNetwork({recipe}, size {recipe.size}, {len(self.graph)} nodes, {self.dtypes}, {self.kernels})"

    @property
    def dtypes(self) -> str:
        """The types of its integers: 'int8', or 'int8 and uint8'; of a dynamic-range file those of its weights."""
        activations = dict.fromkeys(str(q.dtype) for q in self.quantised.values())
        weights = (w.values.dtype for w in self.params.values() if isinstance(w, QuantisedTensor))
        return " and ".join(activations or dict.fromkeys(map(str, weights)))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images that it takes as real numbers, and of what it makes of them."""
        return np.dtype(np.float32)

    def __call__(self, x: Any) -> Any:
        """Run the network on a batch of images.

        Parameters
        ----------
        x : (N, C, H, W), real numbers in float32, scaled as the network expects, or the integers that it reads

        Returns
        -------
        y : what the network returns; real numbers for real ones, integers for integers; of several outputs
            {name: tensor} in the order of `graph.outputs`

        Raises
        ------
        RequestError
            if x has another shape, layout or dtype than the network takes, or a node's kernels refuse it.
        """
        real = self.checked(x).dtype.kind == "f"
        found = {node.name: _bare(y, real) for node, y in self.steps(x) if node.name in self.graph.outputs}
        return found[self.graph.output] if len(found) == 1 else {name: found[name] for name in self.graph.outputs}

    def trace(self, x: Any) -> dict[str, Array]:
        """Run the network and keep the integers of every node, by name, in order of execution.

        What they stand for is in `quantised`; a tensor that is not there is one of floats.
        """
        return {node.name: _bare(y, False) for node, y in self.steps(x)}

    def steps(self, x: Any, execution: ModuleType = fast) -> Iterator[tuple[Node, Any]]:
        """Run the network node by node: each with its tensor, a `QuantisedTensor` or floats.

        Parameters
        ----------
        x : as for calling
        execution : `readings.integer.fast` or `readings.integer.loops`
        """
        return run_integers(self.graph, self.params, self.quantised, {SOURCE: self.given(x)}, self.kernels, execution)

    def given(self, x: Any) -> Any:
        """What the first node reads: x, or the integers nearest to it."""
        images, q = self.checked(x), self.quantised.get(SOURCE)
        if q is None:
            return images
        return QuantisedTensor(images, q) if images.dtype == q.dtype else rules_of(self.kernels).quantize(images, to=q)

    def checked(self, x: Any) -> Array:
        """Return x as an array, or refuse what the network was not made for; see `__call__`."""
        images = images_for(self.graph, x.values if isinstance(x, QuantisedTensor) else x)
        q = self.quantised.get(SOURCE)
        wanted = "float32" if q is None else f"float32 or {q.dtype}"
        if images.dtype != np.float32 and (q is None or images.dtype != q.dtype):
            raise RequestError(f"input: {images.dtype} for a network that takes {wanted}")
        if images.dtype == np.float32 and not np.isfinite(images).all():
            raise RequestError("input: holds NaN or infinity")
        return images

    def reals(self, x: Array) -> Array:
        """Images of integers as the real numbers that they stand for; real ones as they are."""
        given = self.given(x)
        return _bare(given, True) if np.asarray(x).dtype.kind in "iu" else np.asarray(x)

    def arrays(self) -> Iterator[Array]:
        """The numbers that the network is made of, in order: integers, and what they stand for."""
        for param in self.params.values():
            yield param.values if isinstance(param, QuantisedTensor) else np.asarray(param)
        weights = (param.quantisation for param in self.params.values() if isinstance(param, QuantisedTensor))
        for q in (*weights, *self.quantised.values()):
            yield from (q.scale, q.zero_point)

    def dequantised(self) -> Network:
        """The real network that this one approximates: no tensor is rounded, what the ranges of integers cut is cut.

        Raises
        ------
        RequestError
            where refnet's operations cannot say it.
        """
        if self.twin is None:
            raise RequestError("this quantised network has no twin in floats: refnet's operations cannot say it")
        return Network(*self.twin)

    def under(self, kernels: str) -> QuantisedNetwork:
        """The same network in another runtime's arithmetic."""
        return replace(self, kernels=kernels)

    def returning(self, names: Sequence[str]) -> QuantisedNetwork:
        """The network that returns other tensors; see `networks.rewrite.returning`."""
        twin = None
        if self.twin is not None and all(name in self.twin[0] for name in names):
            real = returning(self.twin[0], names)
            twin = real, {name: self.twin[1][name] for name in real.params()}
        return replace(self, graph=returning(self.graph, names), twin=twin)

    def at(self, size: tuple[int, int] | int) -> QuantisedNetwork:
        """The network itself, if it is made for images of this size: a quantised one is for no other.

        Raises
        ------
        RequestError
            for another size.
        """
        if image_size(size, self.graph.recipe.size) != self.graph.recipe.size:
            raise RequestError(f"a quantised network is made for one size of images: {self.graph.recipe.size}")
        return self

    def on(self, threads: int | None) -> QuantisedNetwork:
        """The network itself: it runs on one core, but for the products of matrices, whose threads are NumPy's."""
        return self

    def astype(self, dtype: npt.DTypeLike) -> QuantisedNetwork:
        """The network itself, whose real numbers are float32.

        Raises
        ------
        RequestError
            for another type.
        """
        if np.dtype(dtype) != np.float32:
            raise RequestError(f"a quantised network takes float32, not {np.dtype(dtype)}")
        return self


AnyNetwork = Network | QuantisedNetwork


def in_floats(net: AnyNetwork) -> Network:
    """A network, or the real one that a quantised one approximates; see `QuantisedNetwork.dequantised`."""
    return net.dequantised() if isinstance(net, QuantisedNetwork) else net


def _bare(y: Any, real: bool) -> Array:
    """A tensor's integers, or the real numbers that they stand for."""
    if not isinstance(y, QuantisedTensor):
        return np.asarray(y)
    return np.asarray(rules_of(DEFAULT_KERNELS).dequantize(y)) if real else y.values
