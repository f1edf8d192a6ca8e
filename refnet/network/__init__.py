"""A graph with its params: call it, trace it, fold it, move it to another size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from refnet.errors import RequestError
from refnet.graph import SOURCE, Graph, Node, walk
from refnet.networks.resize import resize
from refnet.networks.rewrite import fold_batch_norm, fold_terms
from refnet.readings import fast
from refnet.readings.shapes import well_formed
from refnet.session import Session

if TYPE_CHECKING:
    from refnet.files.identify.notes import Note
    from refnet.network.quantised import AnyNetwork

__all__ = ["Network", "images_for", "load"]

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
    folded : by convolution, how large the terms are that cancelled in the bias that batch norm was folded into, see
        `rewrite.fold_terms`

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
    folded: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise RequestError(f"threads {self.threads}: take at least 1")
        needed = well_formed(self.graph).params()
        for name, shape in needed.items():
            if name not in self.params:
                raise RequestError(f"params: {name!r} is missing")
            if not isinstance(self.params[name], np.ndarray):
                raise RequestError(f"params: {name!r} is no array but of type {type(self.params[name]).__name__}")
            if _is_masked(self.params[name]):
                raise RequestError(f"params: {name!r} is masked, and its mask would be lost: fill it first")
            if self.params[name].shape != shape:
                raise RequestError(f"params: {name!r} has shape {self.params[name].shape}, the graph needs {shape}")
        if extra := [name for name in self.params if name not in needed]:
            raise RequestError(f"params: {extra[0]!r} belongs to no node of the graph")
        dtypes = {str(array.dtype) for array in self.params.values()}
        if not dtypes <= {"float32", "float64"} or len(dtypes) > 1:
            raise RequestError(f"params: take float32 or float64 throughout, not {', '.join(sorted(dtypes))}")

    def __repr__(self) -> str:
        recipe = self.graph.recipe
        return f"Network({recipe}, size {recipe.size}, {len(self.graph)} nodes, {self.dtype})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """Precision of the params, and so of everything computed with them; float32 where there are none."""
        return next((array.dtype for array in self.params.values()), np.dtype(np.float32))

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
        return Session(self.graph, self.params, threads=self.threads, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a session is made anew wherever it is needed."""
        return {"graph": self.graph, "params": self.params, "threads": self.threads, "folded": self.folded}

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
        x = images_for(self.graph, x)
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
        terms = {**self.folded, **fold_terms(self.graph, self.params)}
        return Network(*fold_batch_norm(self.graph, self.params), self.threads, terms)

    def astype(self, dtype: npt.DTypeLike) -> Network:
        """The same network computing in another precision, float32 or float64."""
        return replace(self, params={name: array.astype(dtype) for name, array in self.params.items()})


def _is_masked(x: object) -> bool:
    """Whether an array is a masked one; nothing asks numpy.ma, which is slow to import, of any other."""
    return hasattr(x, "mask") and isinstance(x, np.ma.MaskedArray)


def images_for(graph: Graph, x: Array) -> Array:
    """Return x as an array of images for a graph, or refuse their number, size or layout."""
    if _is_masked(x):
        raise RequestError("input: is masked, and its mask would be lost: fill it first")
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


def load(
    path: str | Path | None = None,
    *,
    model: str | None = None,
    width: float | None = None,
    size: tuple[int, int] | int | None = None,
    head: str | Sequence[str] | None = None,
    prefix: str | None = None,
    output: str | Sequence[str] | None = None,
    strict: bool = False,
    tell: Callable[[Note], object] | None = None,
) -> AnyNetwork:
    """Load trained weights; without a path the network that ships with refnet, which reads handwritten digits.

    Parameters
    ----------
    path : a checkpoint, see `files.checkpoint.identify`
    model, width : which network it is, where names and shapes cannot tell
    size : (height, width) of the images; by default the file's or else the vendor's
    head : layers of a head of the file's own, where the file cannot tell; 'linear,relu,linear'
    prefix : take only what the file holds under names that begin so
    output : the tensor, or tensors, that the network is to return; it ends there
    strict : refuse whatever is not exactly a known network
    tell : is given each note of what was settled while a file of floats was read

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
    from refnet.files import containers, shipped
    from refnet.files.checkpoint import identify, settled
    from refnet.files.quantised import read_quantised

    if path is None:
        if model not in (None, DEFAULT):
            raise RequestError(f"no weights of {model} ship with refnet: give the path of a checkpoint")
        path, model = shipped.path("digits_weights.npz"), DEFAULT
    contents = containers.read(path)
    integers = read_quantised(path, model=model, width=width, size=size, strict=strict, contents=contents)
    if integers is not None:
        from refnet.network.quantised import QuantisedNetwork

        net = QuantisedNetwork(*integers)
        return net if output is None else net.returning([output] if isinstance(output, str) else output)
    found = identify(
        path, model=model, width=width, size=size, head=head, prefix=prefix, output=output, contents=contents
    )
    graph, params = settled(found, model=model, strict=strict)
    if tell is not None:
        for note in found.notes:
            tell(note)
    return Network(graph, params)
