"""Train the network that ships with refnet: V3-Small on 8x8 handwritten digits.

Writes, beside this script,

    digits_weights.npz   the trained weights, float32
    digits_scans.npz     all 1,797 scans, their labels, which were held out, and PyTorch's logits

It refuses to look at the held-out third while anything is still being chosen: `--validate` splits the
other two thirds again and never touches the last one, and the plain run evaluates on it once, after
the weights are written down.  It does not tune, resume or download, and no test runs it.

    python weights/train_digits.py --validate 0     train on 3/4 of the training scans, judge the rest (folds 0..3)
    python weights/train_digits.py                  train on all training scans, write both files

The settings below are the first ones tried: 297 + 297 + 296 + 296 of 1,198 right over the four folds
(99.0 %), then 593 of 599 held out (99.0 %).  A run takes three minutes on two idle cores.

At 32x32 the maps shrink to 2x2 and then 1x1, so the 5x5 depthwise filters from features.5 on (block5) meet
pixels only with their middle 3x3 taps, then 2x2 (features.9), then 1 (features.10 and 11).  The other taps
meet padding and keep their random start, decayed: a larger input would read weights that nothing trained,
and at 32x32 nothing shows whether a port has the last two filters the right way round.

Needs refnet, torch, torchvision and scikit-learn.  The same versions on the same kind of processor give the
same bits (everything is seeded, two threads); another version gives another, equally good, network.

The data is scikit-learn's copy of the *test* set of "Optical Recognition of Handwritten Digits"
(E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, CC BY 4.0).
Its 13 writers are mixed by the split below, so the accuracy here is for new scans by known writers.
"""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from configurations import import_torchvision
from sklearn.datasets import load_digits
from torch.nn import functional as F  # noqa: N812

from refnet.files.schemes import entries
from refnet.networks.build import build

FORMAT = "refnet-digits 1"
ORIGIN = (
    "Scans and labels: scikit-learn's bundled copy (load_digits, values unchanged) of the test set of the UCI "
    "'Optical Recognition of Handwritten Digits', E. Alpaydin and C. Kaynak, 1998, doi:10.24432/C50P49, "
    "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). "
    "Weights and logits: weights/train_digits.py of refnet."
)
HERE = Path(__file__).parent

SEED = 0
WIDTH = 0.35
EPOCHS = 200
BATCH = 64
LEARNING_RATE = 4e-3  # the peak of one cycle
WEIGHT_DECAY = 0.02
SMOOTHING = 0.1  # of the labels
TURN, GROW, SHIFT, NOISE = 12.0, 0.12, 0.8, 0.5  # degrees, ratio, pixels of the 8x8 scan, steps of 1/16


# ---------------------------------------------------------------- data


def split(count=1797):
    """Return the training and the held-out indices: a seeded shuffle, of which the last third is held out.

    RandomState, not default_rng: NumPy promises that its stream never changes.
    """
    order = np.random.RandomState(SEED).permutation(count)
    return order[: count - count // 3], order[count - count // 3 :]


def network_input(scans):
    """Return (N, 8, 8) scans of 0..16 as the (N, 3, 32, 32) float32 input in [-1, 1].

    Every pixel becomes 4x4 pixels and all three channels are the same.  For integer scans each step is exact.
    """
    x = scans.to(torch.float32) / 8 - 1
    x = x.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)  # (N, 32, 32)
    return x[:, None].repeat(1, 3, 1, 1)  # (N, 3, 32, 32)


def disturb(scans, random):
    """Return float scans, each turned, grown, sheared and shifted a little, with a little noise.

    This happens on the 8x8 grid, so what the network sees in training is made of 4x4 pixels too.
    """
    n = len(scans)

    def spread(width):
        return (2 * torch.rand(n, generator=random) - 1) * width

    turn, shear = torch.deg2rad(spread(TURN)), torch.deg2rad(spread(TURN))
    tall, wide = 1 + spread(GROW), 1 + spread(GROW)
    down, right = spread(SHIFT / 4), spread(SHIFT / 4)  # the 8 pixels span -1..1
    across = torch.stack([torch.cos(turn) * wide, -torch.sin(turn + shear) * tall, right], 1)
    along = torch.stack([torch.sin(turn) * wide, torch.cos(turn + shear) * tall, down], 1)
    matrix = torch.stack([across, along], 1)  # (N, 2, 3): where each pixel is fetched from
    grid = F.affine_grid(matrix, (n, 1, 8, 8), align_corners=False)
    moved = F.grid_sample(scans[:, None].to(torch.float32), grid, align_corners=False)[:, 0]  # zeros outside: paper
    return (moved + NOISE * torch.randn(n, 8, 8, generator=random)).clamp(0, 16)


# ---------------------------------------------------------------- network


def train(scans, labels):
    """Return V3-Small trained on these scans, in eval mode."""
    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    net = import_torchvision().models.mobilenet_v3_small(width_mult=WIDTH, num_classes=10)
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    decayed = [p for p in net.parameters() if p.ndim > 1]
    spared = [p for p in net.parameters() if p.ndim == 1]  # biases and batch norm
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups)
    steps = len(scans) // BATCH  # of an epoch; what is left over waits for the next shuffle
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps)

    net.train()
    for epoch in range(EPOCHS):
        order = torch.randperm(len(scans), generator=random)
        total = 0.0
        for batch in order[: steps * BATCH].reshape(steps, BATCH):
            logits = net(network_input(disturb(scans[batch], random)))
            loss = F.cross_entropy(logits, labels[batch], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1:4d}  loss {total / steps:.4f}", flush=True)

    # torchvision's momentum of 0.01 leaves the running statistics behind the weights:
    # measure them again for the final weights, as the plain mean over 40 disturbed passes.
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    with torch.no_grad():
        for _ in range(40):
            order = torch.randperm(len(scans), generator=random)
            for batch in order[: steps * BATCH].reshape(steps, BATCH):
                net(network_input(disturb(scans[batch], random)))
    return net.eval()


def predict(net, scans):
    """Return the (N, 10) eval-mode logits, 64 scans at a time."""
    with torch.no_grad():
        return torch.cat([net(network_input(part)) for part in scans.split(BATCH)])


# ---------------------------------------------------------------- files


def canonical(state_dict):
    """Return the arrays to save, by refnet's names and in its layout."""
    graph = build("refnet/digits")
    shapes = graph.params()
    names = entries(graph, "torchvision")
    return {ours: entry.ours(state_dict[entry.key].numpy(), shapes[ours]) for ours, entry in names.items()}


def versions():
    """Return, as JSON, what made the files."""
    made_with = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "torchvision": import_torchvision().__version__,
        "scikit-learn": sklearn.__version__,
    }
    return json.dumps(made_with)


def main():
    parser = argparse.ArgumentParser(description="Train V3-Small on 8x8 handwritten digits.")
    judge = "train on three quarters of the training scans, judge on quarter FOLD (0..3), write nothing"
    parser.add_argument("--validate", type=int, choices=range(4), metavar="FOLD", help=judge)
    fold = parser.parse_args().validate

    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    scans = torch.from_numpy(digits.images.astype(np.uint8))  # (1797, 8, 8), 0..16
    labels = torch.from_numpy(digits.target)
    training, held_out = split()

    started = time.perf_counter()
    if fold is not None:
        judged = np.array_split(training, 4)[fold]
        rest = np.setdiff1d(training, judged)
        right = predict(train(scans[rest], labels[rest]), scans[judged]).argmax(1) == labels[judged]
        print(
            f"validation fold {fold}: {int(right.sum())} of {len(judged)} right, {time.perf_counter() - started:.0f} s"
        )
        return

    net = train(scans[training], labels[training])
    print(f"trained in {time.perf_counter() - started:.0f} s")
    arrays = canonical(net.state_dict())
    notes = {"__format__": FORMAT, "__origin__": ORIGIN, "__versions__": versions()}
    np.savez_compressed(HERE / "digits_weights.npz", **arrays, **notes)

    logits = predict(net, scans)
    mask = np.zeros(len(scans), bool)
    mask[held_out] = True
    np.savez_compressed(
        HERE / "digits_scans.npz",
        scans=scans.numpy(),
        labels=labels.numpy().astype(np.uint8),
        held_out=mask,
        logits=logits.numpy(),
        format=FORMAT,
        origin=ORIGIN,
        versions=versions(),
    )
    right = (logits.argmax(1) == labels).numpy()
    for name, part in ("training", ~mask), ("held out", mask):
        print(f"{name}: {right[part].sum()} of {part.sum()} right, {right[part].mean():.2%}")


if __name__ == "__main__":
    main()
