"""Write names.json: what the vendors call the layers of one network of each kind, apart from refnet.

Usage: python make_names.py FOLDER, where FOLDER holds `naming_map.json`, made with the vendors' live modules:
positions (b<i>.dw, h<j>, counted from 0) to module or layer names. Imports nothing of refnet.
"""

import json
import sys
from pathlib import Path

PARTS = {
    "expand": "expand",
    "dw": "depthwise",
    "project": "project",
    "se_reduce": "se.reduce",
    "se_expand": "se.expand",
}

# (refnet's name, width, key in the map, refnet's names of the head's layers in order)
V3, FLAT, LAST = ("head.conv", "head.hidden", "head.logits"), ("head.logits",), ("head.conv", "head.logits")
KINDS = (
    ("torchvision/mobilenet_v2", 1.0, "torchvision/mobilenet_v2@w1.0", LAST),
    ("torchvision/mobilenet_v2", 0.1, "torchvision/mobilenet_v2@w0.1", LAST),
    ("torchvision/mobilenet_v3_large", 1.0, "torchvision/mobilenet_v3_large@w1.0", V3),
    ("torchvision/mobilenet_v3_small", 1.0, "torchvision/mobilenet_v3_small@w1.0", V3),
    ("torchvision/mnasnet1_0", 1.0, "torchvision/mnasnet1_0", LAST),
    ("timm/mobilenetv1_100", 1.0, "timm/mobilenetv1_100", FLAT),
    ("timm/mobilenetv2_100", 1.0, "timm/mobilenetv2_100", LAST),
    ("timm/mnasnet_100", 1.0, "timm/mnasnet_100", LAST),
    ("timm/mnasnet_small", 1.0, "timm/mnasnet_small", LAST),
    ("timm/semnasnet_100", 1.0, "timm/semnasnet_100", LAST),
    ("timm/mobilenetv3_large_100", 1.0, "timm/mobilenetv3_large_100", V3),
    ("timm/mobilenetv3_rw", 1.0, "timm/mobilenetv3_rw", V3),
    ("timm/tf_mobilenetv3_small_100", 1.0, "timm/tf_mobilenetv3_small_100", V3),
    ("keras/MobileNet", 1.0, "keras/MobileNet@alpha1.0", FLAT),
    ("keras/MobileNetV2", 1.0, "keras/MobileNetV2@alpha1.0", LAST),
    ("keras/MobileNetV3Large", 1.0, "keras/MobileNetV3Large@alpha1.0", V3),
    ("keras/MobileNetV3Small_minimalistic", 1.0, "keras/MobileNetV3Small_minimalistic@alpha1.0", V3),
    ("d-li14/mobilenetv2", 1.0, "d-li14/mobilenetv2@w1.0", LAST),
    ("d-li14/mobilenetv3_large", 1.0, "d-li14/mobilenetv3_large@w1.0", V3),
    ("d-li14/mobilenetv3_small", 0.75, "d-li14/mobilenetv3_small@w0.75", V3),
    ("kuan-wang/mobilenetv3_large", 1.0, "kuan-wang/mobilenetv3_large@w1.0", V3),
    ("kuan-wang/mobilenetv3_small", 1.0, "kuan-wang/mobilenetv3_small@w1.0", V3),
    ("article/torch_large", 1.0, "article/torch_large", V3),
    ("article/torch_small", 1.0, "article/torch_small", V3),
)


def renamed(found, unused, head):
    """The map with refnet's names of nodes for its positions."""
    layers = sorted({position.split(".")[0] for position in found if position[0] == "h"}, key=lambda h: int(h[1:]))
    places = {"stem": "stem.conv", "stem.bn": "stem.bn"}
    places |= dict(zip(layers, head, strict=True)) | {f"{layers[0]}.bn": "head.bn"}
    names = {}
    for position, module in found.items():
        if module in unused:
            continue
        if position in places:
            names[places[position]] = module
        else:
            block, _, part = position.partition(".")
            part, _, norm = part.partition(".")
            names[f"block{int(block[1:]) + 1}.{PARTS[part]}{'.bn' if norm else ''}"] = module
    return names


def main(folder):
    maps = json.loads((folder / "naming_map.json").read_text())["maps"]
    lines = [
        json.dumps(
            {
                "name": name,
                "width": width,
                "key": key,
                "modules": renamed(maps[key]["map"], maps[key]["not_used_by_forward"], head),
            },
            separators=(",", ":"),
        )
        for name, width, key, head in KINDS
    ]
    origin = json.dumps(__doc__.splitlines()[0])
    text = f'{{"format": "refnet names 1", "origin": {origin}, "models": [\n' + ",\n".join(lines) + "\n]}\n"
    Path(__file__).with_name("names.json").write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
