"""Write latency.md: how well layers' times, multiply-adds and bytes foretell the time of whole networks.

Usage: PYTHONPATH=. python docs/make_latency.py. Takes some minutes. Its figures are this machine's, and change with it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from refnet.networks.build import build
from refnet.search.latency import LatencyTable, layer_times, measured, this_machine, time_network
from refnet.search.layers import bytes_moved, multiply_adds

HERE = Path(__file__).parent
ROUNDS = 3  # of measuring each whole network, among the others

NETWORKS = (
    *(
        ("torchvision/mobilenet_v3_large", width, size)
        for width, size in ((1.0, 224), (1.0, 160), (0.5, 224), (0.35, 128))
    ),
    *(
        ("torchvision/mobilenet_v3_small", width, size)
        for width, size in ((1.0, 224), (1.0, 128), (0.5, 224), (0.35, 96))
    ),
    *(("torchvision/mobilenet_v2", width, size) for width, size in ((1.0, 224), (1.0, 128), (0.5, 224), (0.25, 160))),
    *(("torchvision/mnasnet1_0", 1.0, size) for size in (224, 160, 128)),
    *(("torchvision/mnasnet0_5", 1.0, size) for size in (224, 128)),
    *(("timm/semnasnet_100", 1.0, size) for size in (224, 128)),
    *(("timm/mobilenetv1_100", width, size) for width, size in ((1.0, 224), (0.5, 224), (0.25, 128))),
    ("paper/mobilenet_v3_large@original_last_stage", 1.0, 224),
    ("paper/mobilenet_v3_large@wide_stem", 1.0, 224),
)

PAGE = """# Whole networks by the sum of their layers

Written by [make_latency.py](make_latency.py) on {machine}:
one image, float32, one thread, processor time. {layers} different layers were measured, each by itself;
*predicted* is their sum, *measured* the whole network.

| network | width | size | multiply-adds | MiB moved | predicted ms | measured ms | error |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

| model of latency | median error | largest | rank correlation |
| --- | ---: | ---: | ---: |
{models}

Multiply-adds and bytes moved are scaled by the factor that fits these networks best in the median; a rank needs none.
"""


def main() -> None:
    """Measure, and write the page."""
    graphs = [build(name, width=width, size=size) for name, width, size in NETWORKS]
    table = LatencyTable(this_machine())
    runs = []
    for _ in range(ROUNDS):  # in turns, so that what else the machine does falls on all alike
        runs.append([time_network(graph) for graph in graphs])
    table = measured(graphs, table)
    whole = np.median(runs, axis=0)
    models = {
        "sum of layers": np.array([sum(each.ms for each in layer_times(graph, table)) for graph in graphs]),
        "multiply-adds": np.array([multiply_adds(graph) for graph in graphs], float),
        "bytes moved": np.array([bytes_moved(graph) for graph in graphs], float),
    }
    lines = []
    for name, values in models.items():
        fitted = values if name == "sum of layers" else values * np.median(whole / values)
        error = np.abs(fitted / whole - 1)
        rank = spearmanr(values, whole).statistic
        lines.append(f"| {name} | {np.median(error):.1%} | {error.max():.1%} | {rank:.3f} |")
    rows = [
        f"| {name} | {width:g} | {size} | {multiply_adds(graph):,} | {bytes_moved(graph) / 2**20:.1f} | {ms:.2f} "
        f"| {took:.2f} | {ms / took - 1:+.1%} |"
        for (name, width, size), graph, ms, took in zip(NETWORKS, graphs, models["sum of layers"], whole, strict=True)
    ]
    page = PAGE.format(machine=table.machine, layers=len(table.layers), rows="\n".join(rows), models="\n".join(lines))
    (HERE / "latency.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main()
