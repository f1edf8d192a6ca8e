"""Take over the outputs of vendors whose code is in no package: d-li14, kuan-wang and the article's two listings.

Writes `outputs_others.npz` beside this script from `vendors_torch.npz` and `article_keras.npz`, made elsewhere by
running each vendor's own source. Only the keys change, to `<model>|<width>|<height>x<width>|logits64` as in the other
`outputs_*.npz`. `stages64` holds a row for each stage module in order (the blocks; stem and head parts too where the
vendor keeps them in `features`): mean, standard deviation (population) and first six values of its float64 output.

It refuses a key that it cannot read and a model that refnet does not have. It runs no network.

    PYTHONPATH=. python weights/make_outputs_others.py FOLDER     the folder that holds the two files
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from configurations import key, networks, write

FILES = ("vendors_torch.npz", "article_keras.npz")
ARRAYS = ("logits64", "logits32", "softmax64", "softmax32", "stages64")


def renamed(old: str) -> str:
    """Our form of a key: 'd-li14/mobilenetv2@w0.35|96x96|logits64' -> 'd-li14/mobilenetv2|0.35|96x96|logits64'.

    Raises
    ------
    SystemExit
        if there is no such network or no such array.
    """
    network, size, what = old.split("|")
    model, _, width = network.partition("@w")
    height, breadth = size.split("x")
    known = (model, float(width or 1))
    if known not in networks() or what not in ARRAYS:
        raise SystemExit(f"{old}: refnet has no such network, or no such array of one")
    return key(*known, (int(height), int(breadth)), what)


def main() -> None:
    """Write the archive."""
    parser = argparse.ArgumentParser(description="Take over the outputs of vendors whose code is in no package.")
    parser.add_argument("folder", type=Path, help=f"holds {' and '.join(FILES)}")
    folder = parser.parse_args().folder
    arrays = {}
    for file in FILES:
        with np.load(folder / file, allow_pickle=False) as archive:
            arrays |= {renamed(old): archive[old] for old in archive.files}
    write(
        "outputs_others.npz",
        arrays,
        format="refnet outputs 1",
        versions={"torch": "2.13", "keras": "3.15", "tensorflow": "2.21"},
        origin="each vendor's own source, run in PyTorch 2.13 (d-li14, kuan-wang, article/torch_*) or in Keras 3.15 on "
        "TensorFlow 2.21 (article/keras_*), weights random_params(graph)",
        script="weights/make_outputs_others.py",
        batch_rule="random_input(graph, N) with N = len(logits64): 2, and 1 for article/keras_*, which can do no other",
        stages64="a row for each stage module in order: mean, standard deviation (population), first six values of "
        "its float64 output",
    )


if __name__ == "__main__":
    main()
