"""Random legal quantised tensors and operations for Hypothesis."""

from __future__ import annotations

import numpy as np
import strategies as some
from hypothesis import strategies as st

from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor

EIGHT = st.sampled_from(["int8", "uint8"])


@st.composite
def scales(draw):
    """A float32; a power of two in one of three, whose products have ties."""
    power = 2.0 ** draw(st.integers(-8, 1))
    return np.float32(power * draw(st.sampled_from([1.0, 1.0 + draw(st.floats(0, 1)), 1.0 + draw(st.floats(0, 1))])))


@st.composite
def quantisations(draw, dtype):
    limits = np.iinfo(dtype)
    zero = draw(st.integers(int(limits.min), int(limits.max)) | st.sampled_from([int(limits.min), int(limits.max), 0]))
    return Quantisation(draw(scales()), zero if dtype != "int16" else 0, None, dtype)


@st.composite
def values(draw, dtype, *shape):
    """Integers of the whole range, sometimes only the outermost ones."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    limits = np.iinfo(dtype)
    if draw(st.sampled_from([True, False, False])):
        return rng.choice([limits.min, limits.max], shape).astype(dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)


@st.composite
def tensors(draw, dtype, *shape):
    return QuantisedTensor(draw(values(dtype, *shape)), draw(quantisations(dtype)))


@st.composite
def weights(draw, dtype, *shape, by_channel=True, symmetric=False):
    """Weights with one scale, or one for each filter; a zero point only where there is one scale."""
    if by_channel and draw(st.booleans()):
        found = np.array([draw(scales()) for _ in range(shape[0])], np.float32)
        q = Quantisation(found * np.float32(0.1), np.zeros(shape[0], int), 0, dtype)
    else:
        limits = np.iinfo(dtype)
        zero = 0 if symmetric else draw(st.just(0) | st.integers(int(limits.min), int(limits.max)))
        q = Quantisation(draw(scales()) * np.float32(0.1), zero, None, dtype)
    return QuantisedTensor(draw(values(dtype, *shape)), q)


@st.composite
def biases(draw, count):
    """None, or int32: small ones, and the outermost, which make a sum wrap."""
    most = draw(st.sampled_from([0, 1000, 1000, 2**31 - 1]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return None if most == 0 else rng.integers(-most, most + 1, count)


@st.composite
def places(draw, kernel):
    """(size of the image, stride, pad and dilation) with H != W and at least one output."""
    stride, dilation = draw(some.PAIR), draw(some.PAIR)
    pad = draw(st.tuples(some.SIDES, some.SIDES))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(max(1, r - sum(p)), r + 3)) for r, p in zip(reach, pad, strict=True)]
    return size, {"stride": stride, "pad": pad, "dilation": dilation}


@st.composite
def pools(draw, size):
    """Attributes of a pool whose every window touches the image."""
    kernel = tuple(draw(st.integers(1, side)) for side in size)
    pad = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel)
    return {"kernel": kernel, "stride": draw(some.PAIR), "pad": pad}
