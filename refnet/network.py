"""A graph with its params: call it, trace it, fold it, move it to another size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node, walk
from refnet.networks.build import image_size
from refnet.networks.resize import resize
from refnet.networks.rewrite import fold_batch_norm
from refnet.readings import fast
from refnet.readings.integer import fast as integer_fast
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor
from refnet.readings.quantised import DEFAULT_KERNELS, rules_of, run_integers
from refnet.readings.shapes import well_formed
from refnet.session import Session

__all__ = ["AnyNetwork", "Network", "QuantisedNetwork", "in_floats", "load"]

Array = npt.NDArray[Any]

DEFAULT = "refnet/digits"


@dataclass(frozen=True, eq=False)
class Network:
    """A graph and the arrays that its nodes need.

    Parameters
    ----------
    graph : from `build`
    params : {'stem.conv.w': array, ...}, every array of one float dtype; not to be changed after the first call
    threads : cores to use when called, by default all; see `Session`

    Raises
    ------
    GraphError
        if the graph breaks its own rules, see `readings.shapes.well_formed`: names the node.
    RequestError
        if an array is missing, left over, of another shape or of another dtype than the rest.

    Examples
    --------
    >>> net = load()
    >>> net(np.zeros((1, 3, 32, 32), np.float32)).shape
    (1, 10)
    """

    graph: Graph
    params: Mapping[str, Array]
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise RequestError(f"threads {self.threads}: take at least 1")
        needed = well_formed(self.graph).params()
        for name, shape in needed.items():
            if name not in self.params:
                raise RequestError(f"params: {name!r} is missing")
            if self.params[name].shape != shape:
                raise RequestError(f"params: {name!r} has shape {self.params[name].shape}, the graph needs {shape}")
        if extra := [name for name in self.params if name not in needed]:
            raise RequestError(f"params: {extra[0]!r} belongs to no node of the graph")
        dtypes = {str(array.dtype) for array in self.params.values()}
        if not dtypes <= {"float32", "float64"} or len(dtypes) != 1:
            raise RequestError(f"params: take float32 or float64 throughout, not {', '.join(sorted(dtypes))}")

    def __repr__(self) -> str:
        recipe = self.graph.recipe
        return f"Network({recipe}, size {recipe.size}, {len(self.graph)} nodes, {self.dtype})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the params, and so of everything computed with them."""
        return next(iter(self.params.values())).dtype

    def __call__(self, x: Array) -> Any:
        """Run the network on a batch of images.

        Runs in `session`, so the last bits may be others than those of `trace`.

        Parameters
        ----------
        x : (N, C, H, W) array in the network's dtype, scaled as it expects

        Returns
        -------
        y : the tensor that the network returns, an array such as (N, classes); of a network with several outputs
            {name: tensor} in the order of `graph.outputs`

        Raises
        ------
        RequestError
            if x has another shape, layout or dtype than the network takes, or holds NaN or infinity.
        """
        return self.session(self.checked(x))

    @cached_property
    def session(self) -> Session:
        """The network prepared for speed; made when it is first called."""
        return Session(self.graph, self.params, threads=self.threads)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a session is made anew wherever it is needed."""
        return {"graph": self.graph, "params": self.params, "threads": self.threads}

    def trace(self, x: Array) -> dict[str, Array]:
        """Run the network and keep the tensor of every node, by name, in order of execution."""
        return {node.name: y for node, y in self.steps(x)}

    def steps(self, x: Array, rules: Any = fast) -> Iterator[tuple[Node, Array]]:
        """Run the network node by node, keeping no more in memory than is still needed.

        Parameters
        ----------
        x : as for calling
        rules : the executing reading, `readings.fast` or `readings.loops`
        """
        return walk(self.graph, rules, self.params, {SOURCE: self.checked(x)})

    def checked(self, x: Array) -> Array:
        """Return x, or refuse what the network was not made for; see `__call__`."""
        x = _images(self.graph, x)
        if x.dtype != self.dtype:
            raise RequestError(f"input: {x.dtype} for a network in {self.dtype}; take x.astype({str(self.dtype)!r})")
        if not np.isfinite(x).all():
            raise RequestError("input: holds NaN or infinity")
        return x

    def arrays(self) -> Iterator[Array]:
        """The numbers that the network is made of, in order."""
        return (self.params[name] for name in self.graph.params())

    def at(self, size: tuple[int, int] | int) -> Network:
        """The same network for images of another (height, width); see `networks.resize`."""
        return replace(self, graph=resize(self.graph, size))

    def on(self, threads: int | None) -> Network:
        """The same network on so many cores; None for all. One where other processes use the rest."""
        return replace(self, threads=threads)

    def fold(self) -> Network:
        """The same function with every batch norm worked into its convolution."""
        return Network(*fold_batch_norm(self.graph, self.params), self.threads)

    def astype(self, dtype: npt.DTypeLike) -> Network:
        """The same network computing in another precision, float32 or float64."""
        return replace(self, params={name: array.astype(dtype) for name, array in self.params.items()})


def _images(graph: Graph, x: Array) -> Array:
    """Return x as an array of images for a graph, or refuse their number, size or layout."""
    x = np.asarray(x)
    C, H, W = graph.input_shape
    wanted = f"(N, {C}, {H}, {W})"
    if x.ndim == 4 and x.shape[1:] == (H, W, C) != (C, H, W):
        raise RequestError(f"input: shape {x.shape} has channels last; take {wanted}: x.transpose(0, 3, 1, 2)")
    if x.ndim == 3 and x.shape == (C, H, W):
        raise RequestError(f"input: shape {x.shape} lacks the batch axis; take {wanted}: x[None]")
    if x.ndim == 4 and x.shape[1] == C and x.shape[2:] != (H, W):
        raise RequestError(f"input: images of {x.shape[2:]} for a network of {(H, W)}; take net.at({x.shape[2:]})")
    if x.ndim != 4 or x.shape[1:] != (C, H, W):
        raise RequestError(f"input: shape {x.shape}; take {wanted}")
    if x.shape[0] == 0:
        raise RequestError(f"input: a batch of no images; take {wanted} with N of at least 1")
    return x


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

    def steps(self, x: Any, execution: ModuleType = integer_fast) -> Iterator[tuple[Node, Any]]:
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
        images = _images(self.graph, x.values if isinstance(x, QuantisedTensor) else x)
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


def load(
    path: str | Path | None = None,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    as_is: bool = False,
) -> AnyNetwork:
    """Load trained weights; without a path the network that ships with refnet, which reads handwritten digits.

    Parameters
    ----------
    path : a checkpoint, see `files.checkpoint.read_checkpoint`
    model, width : which network it is, where names and shapes cannot tell
    size : (height, width) of the images; by default the file's or else the vendor's
    head : layers of a head of the file's own, where the file cannot tell; 'linear,relu,linear'
    prefix : take only what the file holds under names that begin so
    as_is : take a network that differs from the known one as the file has it

    Returns
    -------
    net : a `Network`; a `QuantisedNetwork` of a file whose convolutions read integers

    Raises
    ------
    FormatError, RequestError
        in one line: what is wrong with the file, and what to do.

    Examples
    --------
    >>> load()
    Network(refnet/digits, width 1, size (32, 32), 157 nodes, float32)
    """
    # Only here: running a network needs no parser of files, and importing refnet is quick.
    from refnet.files import shipped
    from refnet.files.checkpoint import read_checkpoint
    from refnet.files.quantised import read_quantised

    if path is None:
        if model not in (None, DEFAULT):
            raise RequestError(f"no weights of {model} ship with refnet: give the path of a checkpoint")
        path, model = shipped.path("digits_weights.npz"), DEFAULT
    integers = read_quantised(path, model=model, width=width, size=size)
    if integers is not None:
        return QuantisedNetwork(*integers)
    return Network(*read_checkpoint(path, model=model, width=width, size=size, head=head, prefix=prefix, as_is=as_is))
