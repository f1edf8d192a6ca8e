"""Write facts.json: what every public model is, read from the vendors' own modules, apart from refnet.

Usage: python make_facts.py FOLDER, where FOLDER holds `architectures.json` (rows of the live modules of torchvision
0.28, timm 1.0.31, Keras 3.15, d-li14, kuan-wang and the article's listings) and `models.txt` (refnet's names for
them). Pads at 224x224 are those of the modules; at 225x191 they follow here from the modules' padding conventions,
in arithmetic of this script's own. Imports nothing of refnet.
"""

import json
import sys
from pathlib import Path

ACTIVATIONS = {"hswish": "hard_swish", "hsigmoid": "hard_sigmoid", None: None}
DEAD = {"article/torch_large": 93_776, "article/torch_small": 6_464}  # built by the listing, never run
ODD = (225, 191)


def pad(convention, n, k, s, d):
    """Before and after, along an axis of n points, as the convention's own text has it."""
    if convention == "symmetric":
        return (k - 1) // 2 * d, (k - 1) // 2 * d
    if s == 2 and convention == "fixed_0_1":
        return 0, 1
    if s == 2 and convention == "keras_correct_pad_unknown_size":
        return k // 2 - 1, k // 2
    if s == 2 and convention == "keras_correct_pad":
        return k // 2 - (1 - n % 2), k // 2
    total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
    return total // 2, total - total // 2


def out(n, k, s, d, before, after):
    return (n + before + after - (k - 1) * d - 1) // s + 1


def odd_pads(model):
    """[top, bottom, left, right] of the stem and of every block at 225x191."""
    layers = [(model["padding"]["stem"], 3, model["stem"]["stride"], 1)]
    layers += [
        (model["padding"]["depthwise"], b["kernel"], b["stride_effective"], b["dilation"]) for b in model["blocks"]
    ]
    size, found = list(ODD), []
    for convention, k, s, d in layers:
        pads = [pad(convention, n, k, s, d) for n in size]
        size = [out(n, k, s, d, *p) for n, p in zip(size, pads, strict=True)]
        found.append([*pads[0], *pads[1]])
    return found


def row(block):
    return [
        block["kernel"],
        block["in"],
        block["expanded"],
        block["out"],
        block["expand_conv"],
        block["se_squeeze"] or 0,
        ACTIVATIONS.get(block["act"], block["act"]),
        block["stride_effective"],
        block["dilation"],
        block["residual"] == "identity",
    ]


def facts(name, width, model, params):
    convs = [layer for layer in model["head"] if layer["op"] == "conv1x1"]
    return {
        "name": name,
        "width": width,
        "source": model["source"],
        "params": params - DEAD.get(name, 0),
        "macs": model["macs"]["520x520"] if "lraspp" in model else model["macs_224"],
        "eps": model["bn"]["eps"],
        **({"decoder_eps": model["lraspp"]["cbr"]["bn_eps"]} if "lraspp" in model else {}),
        "stem": [model["stem"]["out"], ACTIVATIONS.get(model["stem"]["act"], model["stem"]["act"])],
        "rows": [row(block) for block in model["blocks"]],
        "head": [[c["in"], c["out"], c["bn"], c["bias"], ACTIVATIONS.get(c["act"], c["act"])] for c in convs],
        "softmax": any(layer["op"] == "softmax" for layer in model["head"]),
        "gate": ACTIVATIONS.get(model.get("se_common", {}).get("gate"), model.get("se_common", {}).get("gate")),
        "pads_224": [block["pad_tblr"] for block in model["blocks"]],
        "pads_225x191": odd_pads(model),
    }


def main(folder):
    models = json.loads((folder / "architectures.json").read_text())["models"]
    found = []
    for line in (folder / "models.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, keywords, key, params = line.split()
        width = float(keywords.removeprefix("width=")) if keywords != "-" else 1.0
        found.append(facts(name, width, models[key], int(params)))
    document = {"format": "refnet facts 1", "origin": __doc__.splitlines()[0], "models": found}
    lines = ",\n".join(json.dumps(model, separators=(",", ":")) for model in document.pop("models"))
    text = json.dumps(document)[:-1] + ', "models": [\n' + lines + "\n]}\n"
    Path(__file__).with_name("facts.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
