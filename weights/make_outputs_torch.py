"""Save what torchvision's and timm's own modules make of known weights and inputs.

Writes, beside this script,

    outputs_torchvision.npz    outputs_timm.npz    outputs_segmentation.npz

or those of them that are named, with the logits of every network in `configurations`, in float64 and in float32.
Weights and inputs are `refnet.random_params` and `refnet.random_input`, so the archives hold neither. A key is
`<model>|<width>|<height>x<width>|logits64`, and `meta` says what made the file. Of a segmentation network's logits
every ninth row and column is saved.

It refuses a vendor's module whose state dict is not, key by key and shape by shape, what `refnet.files.schemes` says
it is. It trains, downloads and compares nothing: the tests compare. No test runs it.

    PYTHONPATH=. python weights/make_outputs_torch.py [torchvision] [timm] [segmentation]

Needs torch, torchvision and timm. Other versions may differ in the last bits.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any

import numpy.typing as npt
import torch
from configurations import BATCH, SIZES, STEP, import_torchvision, key, networks, versions, write

from refnet.files.schemes import entries
from refnet.graph import Graph
from refnet.networks.build import build
from refnet.networks.random import random_input, random_params

THREADS = 2


def module(model: str, width: float, **options: Any) -> torch.nn.Module:
    """The vendor's own module, as it leaves the vendor's constructor.

    Parameters
    ----------
    model : refnet's name of it, 'torchvision/mobilenet_v3_small@reduced_tail+dilated'
    width : torchvision's width_mult; the names of mnasnet and timm fix their width
    options : further arguments of the constructor
    """
    vendor, name = model.split("/")
    torchvision = import_torchvision()  # before timm, which imports it too
    if vendor == "timm":
        import timm

        return timm.create_model(name, pretrained=False, **options)
    name, _, variants = name.partition("@")
    options |= dict.fromkeys(variants.split("+") if variants else (), True)
    if name.startswith("lraspp"):
        options |= {"weights_backbone": None}
        return getattr(torchvision.models.segmentation, name)(weights=None, **options)
    if "mnasnet" not in name:
        options["width_mult"] = width
    return getattr(torchvision.models, name)(weights=None, **options)


def outputs(net: torch.nn.Module, x: torch.Tensor) -> npt.NDArray[Any]:
    """The logits of a classifier, or some of those of a segmentation network."""
    with torch.inference_mode():
        made = net(x)
    return made["out"][:, :, ::STEP, ::STEP].numpy() if isinstance(made, dict) else made.numpy()


def fill(net: torch.nn.Module, graph: Graph) -> torch.nn.Module:
    """Load `random_params` into a module, strictly, and return it in eval mode.

    Raises
    ------
    RuntimeError
        naming every key that the module has and the scheme has not, and the other way round.
    """
    params = random_params(graph)
    own = net.state_dict()
    state = OrderedDict((name, tensor) for name, tensor in own.items() if name.endswith("num_batches_tracked"))
    for name, entry in entries(graph).items():
        state[entry.key] = torch.from_numpy(entry.theirs(params[name]))
    state._metadata = own._metadata  # torchvision's MNASNet asks for the version in it
    net.load_state_dict(state, strict=True)
    return net.eval()


def main() -> None:
    """Write the archives."""
    torch.set_num_threads(THREADS)
    for archive in sys.argv[1:] or ("torchvision", "timm", "segmentation"):
        arrays = {}
        maps = archive == "segmentation"
        vendor = "torchvision" if maps else archive
        for model, width in networks(vendor, maps=maps):
            net = module(model, width)
            fill(net, build(model, width=width))
            for what, dtype in ("logits64", torch.float64), ("logits32", torch.float32):
                net.to(dtype)  # the float64 weights are float32 numbers, so back again they are the same
                for size in SIZES:
                    x = torch.from_numpy(random_input(build(model, width=width, size=size), BATCH)).to(dtype)
                    arrays[key(model, width, size, what)] = outputs(net, x)
            print(f"{model} {width:g}", flush=True)
        write(
            f"outputs_{archive}.npz",
            arrays,
            format="refnet outputs 1",
            versions=versions(*dict.fromkeys(("torch", "torchvision", vendor))),
            origin=f"{vendor}'s own modules, run in PyTorch on a CPU, eval mode, weights random_params(graph)",
            script="weights/make_outputs_torch.py",
            batch_rule=f"random_input(graph, {BATCH})",
            **({"step": STEP} if maps else {}),
        )


if __name__ == "__main__":
    main()
