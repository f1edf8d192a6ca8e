"""Random legal things for Hypothesis: arrays, convolutions, small networks."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from refnet import build, models

PAIR = st.tuples(st.integers(1, 3), st.integers(1, 3))
SIDES = st.tuples(st.integers(0, 3), st.integers(0, 3))
DTYPES = st.sampled_from([np.float32, np.float64])


@st.composite
def arrays(draw, *shape, dtype=np.float32):
    """Normal numbers of mixed sign, sometimes large, small or exactly zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.standard_normal(shape) * draw(st.sampled_from([1.0, 1.0, 1e-3, 30.0]))
    x[rng.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    return x.astype(dtype)


@st.composite
def geometry(draw, depthwise=False):
    """(x, w, b, attributes) of a convolution: H != W, asymmetric pads, pairs for stride and dilation, some output."""
    dtype = draw(DTYPES)
    kernel, stride, dilation = draw(PAIR), draw(PAIR), draw(PAIR)
    pad = draw(st.tuples(SIDES, SIDES))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(max(1, r - sum(p)), r + 4)) for r, p in zip(reach, pad, strict=True)]
    N, C, K = draw(st.integers(1, 2)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    x = draw(arrays(N, C, *size, dtype=dtype))
    w = draw(arrays(*((C,) if depthwise else (K, C)), *kernel, dtype=dtype))
    b = draw(st.none() | arrays(len(w), dtype=dtype))
    return x, w, b, {"stride": stride, "pad": pad, "dilation": dilation}


@st.composite
def maps(draw, most=6):
    """An (N, C, H, W) array with H and W drawn apart."""
    shape = [draw(st.integers(1, 2)), *(draw(st.integers(1, most)) for _ in range(3))]
    return draw(arrays(*shape, dtype=draw(DTYPES)))


@st.composite
def windows(draw):
    """(x, attributes) of a pool whose every window touches the image."""
    x = draw(maps(7))
    kernel = tuple(draw(st.integers(1, side)) for side in x.shape[2:])
    pad = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    return x, {"kernel": kernel, "stride": draw(PAIR), "pad": pad}


@st.composite
def graphs(draw):
    """A small network: any model at a narrow width and a small, usually not square, size."""
    name = draw(st.sampled_from([name for name in models() if not name.endswith("anysize")]))
    size = (draw(st.integers(32, 48)), draw(st.integers(32, 48)))
    return build(name, width=draw(st.sampled_from([0.25, 0.35, 0.5])), size=size, classes=draw(st.integers(1, 7)))
