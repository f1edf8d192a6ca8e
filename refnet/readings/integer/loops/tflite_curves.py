"""TensorFlow Lite's reference kernels of curved functions, as scalar loops: hard swish, logistic, softmax."""

from __future__ import annotations

import math

import numpy as np

from refnet.errors import RequestError
from refnet.readings.integer.fixedpoint import (
    multiplier,
    rdp,
    round_away,
    sat16,
    srdhm,
    srdhm16,
    wrap32,
)
from refnet.readings.integer.gemmlowp import exp_on_negative, logistic, one_over_one_plus
from refnet.readings.integer.loops.tflite_logistic16 import logistic16
from refnet.readings.integer.loops.tflite_softmax16 import softmax16
from refnet.readings.integer.quantisation import Quantisation, QuantisedTensor, eight_bits

__all__ = ["hard_swish", "sigmoid", "sigmoid_fixed", "softmax"]


def hard_swish(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """x * relu6(x + 3) / 6 in 16 bits.

    h = f32(f32(1 / 128) * s_in); (mo, eo) = Q(double(f32(h / s_out))); (mr, er) = Q(double(f32(h / f32(3 / 32768))));
    both m to 16 bits: (m + 2^15) >> 16, at most 2^15 - 1. Then, v = q - z_in and H = v << 7,

    P = SRDHM16(H, mo) : x in steps of the output, before its last shift
    r = H; sat16(r << (er - 1)) where er > 0; SRDHM16(r, mr); sat16(r << 1) where er > 0; RDP(r, -er) where er < 0;
        (r + 2^15) >> 1 : relu6(x + 3) / 6 in Q0.15
    g = trunc(r * P / 2^15), not rounded; y = clip(RDP(g, -eo) + z_out)

    Raises
    ------
    RequestError
        when eo > 0, an output scale below 1/128 of the input's: the runtime refuses to prepare.

    Notes
    -----
    reference/hard_swish.h; the multipliers in kernels/activations.cc, HardSwishPrepare.
    """
    eight_bits(x, "hard_swish")
    (s_x, z_x), (s_y, z_y) = x.quantisation.single(), to.single()
    high = np.float32(1 / 128) * s_x
    mo, eo = multiplier(float(high / s_y))
    mr, er = multiplier(float(high / np.float32(3 / 32768)))
    if eo > 0:
        raise RequestError(f"hard_swish: an output scale of {s_y} is too small for an input of {s_x}: kernels abort")
    mo, mr = (min((m + 2**15) >> 16, 2**15 - 1) for m in (mo, mr))
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        up = (int(x.values[index]) - z_x) << 7
        whole = int(srdhm16(up, mo))
        r = up
        if er > 0:
            r = int(sat16(r << (er - 1)))
        r = int(srdhm16(r, mr))
        if er > 0:
            r = int(sat16(r << 1))
        if er < 0:
            r = int(rdp(r, -er))
        r = (r + 2**15) >> 1
        g = abs(r * whole) >> 15
        g = g if r * whole >= 0 else -g
        y[index] = min(max(rdp(g, -eo) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def sigmoid(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """LOGISTIC in float32, which the runtime keeps in a table: no fixed point.

    v = f32(s_in * (q - z_in)); y = f32(1 / f32(1 + exp(-v))); clip(round_away(f32(y * f32(1 / s_out))) + z_out).
    exp is rounded to float32 once, as the C library's is but for the rarest of cases.

    Raises
    ------
    RequestError
        when the output is not in steps of 1/256 from the dtype's least integer on: the runtime refuses.

    Notes
    -----
    kernels/activations.cc (SigmoidPrepare), kernels/internal/lut.h. int16 is `logistic16`.
    """
    if x.values.dtype == np.int16:
        return logistic16(x, to=to)
    (s_x, z_x), (_, z_y) = x.quantisation.single(), _steps_of_256(to, "sigmoid")
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = s_x * np.float32(int(x.values[index]) - z_x)
        one = np.float32(1)
        with np.errstate(over="ignore"):
            p = one / (one + np.float32(np.exp(-np.float64(v))))
        y[index] = min(max(int(round_away(p * np.float32(256))) + z_y, to.low), to.high)
    return QuantisedTensor(y, to)


def sigmoid_fixed(x: QuantisedTensor, *, to: Quantisation) -> QuantisedTensor:
    """LOGISTIC of int8 in fixed point, as tflite-micro has it.

    (m, e) = Q(double(s_in) * 2^27), R = floor(15 * 2^27 / 2^e); v = q - z_in. -128 where v <= -R, 127 where v >= R,
    else clip(RDP(logistic(MBQM(v, (m, e))), 23) - 128) of the number in Q4.27.

    Notes
    -----
    tflite-micro, kernels/logistic_common.cc; reference/integer_ops/logistic.h.
    """
    (s_x, z_x), _ = x.quantisation.single(), _steps_of_256(to, "sigmoid")
    if x.values.dtype != np.int8:
        raise RequestError(f"sigmoid of {x.values.dtype}: in fixed point it is known of int8 only")
    m, e = multiplier(float(s_x) * 2**27)
    radius = math.floor(15 * 2**27 / 2**e)
    y = np.zeros(x.values.shape, to.dtype)
    for index in np.ndindex(y.shape):
        v = int(x.values[index]) - z_x
        if v <= -radius:
            y[index] = -128
        elif v >= radius:
            y[index] = 127
        else:
            shifted = wrap32(v << e) if e >= 0 else v
            a = rdp(srdhm(shifted, m), max(-e, 0))
            y[index] = min(max(rdp(int(logistic(a, 4)), 23) - 128, -128), 127)
    return QuantisedTensor(y, to)


def softmax(x: QuantisedTensor, *, beta: float = 1.0, to: Quantisation) -> QuantisedTensor:
    """exp(beta * x) / sum of exp(beta * x) over axis 1, in fixed point; x is (N, K) or (N, K, H, W).

    (m, e) = Q(min(double(beta) * double(s_in) * 2^26, 2^31 - 1)); d = q - the row's largest;
    entries with d < -floor(31 * 2^26 / 2^e) become the least integer and are left out of the sum;
    E = exp(SRDHM(d << e, m)) in Q5.26; S = sum of RDP(E, 12), Q12.19; h = leading zeros of S as uint32;
    R = 1 / (1 + f), f = (S << h) - 2^31 in Q0.31; y = clip(RDP(SRDHM(R, E), 35 - h) + least). int16 is `softmax16`.

    Raises
    ------
    RequestError
        when beta * s_in is 2^-26 or less; when the output is not 256 steps from the least integer on (int8); when the
        exponentials add up to 512 or more, such as of 512 equal logits: the runtime aborts on a shift beyond 31.

    Notes
    -----
    reference/softmax.h; kernels/activations.cc (SoftmaxPrepare), PreprocessSoftmaxScaling in quantization_util.cc.
    """
    s_x, _ = x.quantisation.single()
    if x.values.dtype == np.int16:
        return softmax16(x, beta=beta, to=to)
    if x.values.dtype == np.int8:
        _steps_of_256(to, "softmax")
    m, e = multiplier(min(float(np.float32(beta)) * float(s_x) * 2**26, 2.0**31 - 1))
    if e < 1:
        raise RequestError(f"softmax: an input scale of {s_x} with beta {beta:g} is too small: kernels abort")
    least = -math.floor(31 * 2**26 / 2**e)
    rows = np.moveaxis(x.values, 1, -1)
    y = np.full((rows.size // rows.shape[-1], rows.shape[-1]), to.low, to.dtype)
    for n, row in enumerate(rows.reshape(y.shape).astype(int).tolist()):
        largest = max(row)
        kept = {
            k: int(exp_on_negative(srdhm(wrap32((q - largest) << e), m), 5))
            for k, q in enumerate(row)
            if q - largest >= least
        }
        total = sum(rdp(power, 12) for power in kept.values())
        h = 32 - total.bit_length()
        if 35 - h > 31:
            raise RequestError(f"softmax: row {n} adds up to 512 or more: kernels abort on it")
        part = int(one_over_one_plus((total << h) - 2**31))
        for k, power in kept.items():
            y[n, k] = min(max(rdp(srdhm(part, power), 35 - h) + to.low, to.low), to.high)
    return QuantisedTensor(np.moveaxis(y.reshape(rows.shape), -1, 1), to)


def _steps_of_256(to: Quantisation, op: str) -> tuple[np.float32, int]:
    s, z = to.single()
    if s != np.float32(1 / 256) or z != to.low:
        raise RequestError(f"{op}: an output of scale {s} and zero point {z}: kernels need 1/256 and {to.low}")
    return s, z
