"""The controller of a search: a recurrent policy over decisions, and the gradient of its policy loss, in NumPy.

One LSTM cell reads what was decided last and says how likely each option of the next decision is. All arrays are
float64; a batch is B sequences of T decisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Adam", "initial_policy", "log_likelihoods", "policy_loss", "sampled"]

Array = npt.NDArray[Any]
Params = dict[str, Array]


class _CellStep(NamedTuple):
    """What the backward pass needs of a decision."""

    before: Array  # (B,) row of the embedding that was read
    hidden: Array  # (B, H) that went in
    cell: Array
    gates: Array  # (B, 4 H) after their activations: input, forget, output, candidate
    grown: Array  # (B, H) tanh of the new cell
    made: Array  # (B, H) the new hidden state
    p: Array  # (B, options)


def initial_policy(options: Sequence[int], hidden: int, rng: np.random.Generator) -> Params:
    """Parameters of a policy that begins close to uniform.

    Parameters
    ----------
    options : how many each decision has
    hidden : H, the width of the state

    Returns
    -------
    params : 'embedding' (1 + sum of options, H), a row for the start and for each option of each decision; 'inputs' and
        'hidden' (4 H, H), 'bias' (4 H,); for decision t 'head.t' (options, H) and 'head.t.bias'
    """
    params = {
        "embedding": rng.uniform(-0.1, 0.1, (1 + sum(options), hidden)),
        "inputs": rng.uniform(-0.1, 0.1, (4 * hidden, hidden)),
        "hidden": rng.uniform(-0.1, 0.1, (4 * hidden, hidden)),
        "bias": np.repeat([0.0, 1.0, 0.0, 0.0], hidden),  # a cell that remembers
    }
    for t, count in enumerate(options):
        params[f"head.{t}"] = rng.uniform(-0.1, 0.1, (count, hidden))
        params[f"head.{t}.bias"] = np.zeros(count)
    return params


def sampled(params: Mapping[str, Array], options: Sequence[int], count: int, rng: np.random.Generator) -> Array:
    """(count, T) decisions, each drawn given those before it."""
    drawn = np.zeros((count, len(options)), int)
    state = _start(params, count)
    for t, most in enumerate(options):
        step = _forward(params, t, _before(options, drawn, t), *state)
        state = step.made, _cell(step)
        above = rng.random((count, 1)) > step.p.cumsum(axis=1)
        drawn[:, t] = np.minimum(above.sum(axis=1), most - 1)  # the sum of p may be a little less than 1
    return drawn


def log_likelihoods(params: Mapping[str, Array], options: Sequence[int], decided: Array) -> Array:
    """(B,) log of how likely each row of decisions is."""
    rows = np.arange(len(decided))
    return sum(
        (np.log(step.p[rows, decided[:, t]]) for t, step in enumerate(_steps(params, options, decided))),
        np.zeros(len(decided)),
    )


def policy_loss(
    params: Mapping[str, Array], options: Sequence[int], decided: Array, advantages: Array, entropy: float
) -> tuple[float, Params]:
    """REINFORCE's loss of a batch, and its gradient.

    loss = -1/B sum over b of (advantages[b] * log p(decided[b]) + entropy * sum over t of H(p[b,t]))

    Parameters
    ----------
    decided : (B, T) decisions that were drawn
    advantages : (B,) reward less baseline, constants
    entropy : weight of the bonus that keeps the policy from settling early

    Returns
    -------
    loss, gradient : by the names of `params`

    Notes
    -----
    Williams, Machine Learning 8, 1992, for the gradient; backpropagation through time for the cell (Hochreiter and
    Schmidhuber, Neural Computation 9(8), 1997, with the forget gate of Gers et al., 2000).
    """
    steps, B, rows = _steps(params, options, decided), len(decided), np.arange(len(decided))
    grads = {name: np.zeros_like(array) for name, array in params.items()}
    loss = 0.0
    d_hidden = d_cell = np.zeros((B, params["hidden"].shape[1]))
    for t in range(len(options) - 1, -1, -1):
        step = steps[t]
        log_p = np.log(step.p)
        spread = -(step.p * log_p).sum(axis=1)
        loss -= float((advantages * log_p[rows, decided[:, t]] + entropy * spread).sum()) / B
        d_logits = advantages[:, None] * step.p + entropy * step.p * (log_p + spread[:, None])
        d_logits[rows, decided[:, t]] -= advantages
        d_logits /= B
        grads[f"head.{t}"] += d_logits.T @ step.made
        grads[f"head.{t}.bias"] += d_logits.sum(axis=0)
        d_hidden, d_cell = _backward(params, step, d_hidden + d_logits @ params[f"head.{t}"], d_cell, grads)
    return loss, grads


class Adam:
    """Steps against a gradient, each parameter's scaled by how large its gradients were.

    Kingma and Ba, arXiv 1412.6980, algorithm 1.
    """

    def __init__(self, rate: float) -> None:
        self.rate, self.steps = rate, 0
        self.mean: Params = {}
        self.square: Params = {}

    def step(self, params: Params, grads: Mapping[str, Array]) -> None:
        """Change `params` in place."""
        self.steps += 1
        for name, grad in grads.items():
            mean = self.mean[name] = 0.9 * self.mean.get(name, 0.0) + 0.1 * grad
            square = self.square[name] = 0.999 * self.square.get(name, 0.0) + 0.001 * grad**2
            unbiased, scale = mean / (1 - 0.9**self.steps), np.sqrt(square / (1 - 0.999**self.steps))
            params[name] -= self.rate * unbiased / (scale + 1e-8)


def _before(options: Sequence[int], decided: Array, t: int) -> Array:
    """(B,) the row of the embedding that decision t reads: the start's, or that of what was decided last."""
    if t == 0:
        return np.zeros(len(decided), int)
    rows: Array = 1 + sum(options[: t - 1]) + decided[:, t - 1]
    return rows


def _start(params: Mapping[str, Array], count: int) -> tuple[Array, Array]:
    zeros = np.zeros((count, params["hidden"].shape[1]))
    return zeros, zeros


def _steps(params: Mapping[str, Array], options: Sequence[int], decided: Array) -> list[_CellStep]:
    """The forward pass along decisions that have been made."""
    state, steps = _start(params, len(decided)), []
    for t in range(len(options)):
        steps.append(_forward(params, t, _before(options, decided, t), *state))
        state = steps[-1].made, _cell(steps[-1])
    return steps


def _forward(params: Mapping[str, Array], t: int, before: Array, hidden: Array, cell: Array) -> _CellStep:
    """One step of the cell, and the softmax over decision t's options."""
    width = hidden.shape[1]
    sums = params["embedding"][before] @ params["inputs"].T + hidden @ params["hidden"].T + params["bias"]
    gates = np.concatenate([1 / (1 + np.exp(-sums[:, : 3 * width])), np.tanh(sums[:, 3 * width :])], axis=1)
    admit, keep, show, candidate = np.split(gates, 4, axis=1)
    grown = np.tanh(keep * cell + admit * candidate)
    made = show * grown
    logits = made @ params[f"head.{t}"].T + params[f"head.{t}.bias"]
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return _CellStep(before, hidden, cell, gates, grown, made, p / p.sum(axis=1, keepdims=True))


def _cell(step: _CellStep) -> Array:
    """The state of the cell after a step."""
    admit, keep, _, candidate = np.split(step.gates, 4, axis=1)
    made: Array = keep * step.cell + admit * candidate
    return made


def _backward(
    params: Mapping[str, Array], step: _CellStep, d_made: Array, d_cell: Array, grads: Params
) -> tuple[Array, Array]:
    """The gradient through one step of the cell, added to `grads`; that of the state which went in."""
    admit, keep, show, candidate = np.split(step.gates, 4, axis=1)
    d_new = d_cell + d_made * show * (1 - step.grown**2)
    d_sums = np.concatenate(
        [
            d_new * candidate * admit * (1 - admit),
            d_new * step.cell * keep * (1 - keep),
            d_made * step.grown * show * (1 - show),
            d_new * admit * (1 - candidate**2),
        ],
        axis=1,
    )
    grads["bias"] += d_sums.sum(axis=0)
    grads["inputs"] += d_sums.T @ params["embedding"][step.before]
    grads["hidden"] += d_sums.T @ step.hidden
    np.add.at(grads["embedding"], step.before, d_sums @ params["inputs"])
    return d_sums @ params["hidden"], d_new * keep
