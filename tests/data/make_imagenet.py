"""Write imagenet.npz: PyTorch's logits for the photograph that ships, with torchvision's ImageNet weights.

Usage: python make_imagenet.py mobilenet_v2-b0353104.pth. torchvision's own module and its own preprocessing of
weights/chelsea.png, in float32 and in float64. Imports nothing of refnet.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def torchvision_modules():
    """torchvision's models and transforms, also where its compiled operators are missing."""
    try:
        from torchvision import models, transforms
    except (RuntimeError, AttributeError):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["library"] = library  # the definitions live as long as this object
        from torchvision import models, transforms
    return models, transforms


def main(weights):
    models, transforms = torchvision_modules()
    net = models.mobilenet_v2().eval()
    net.load_state_dict(torch.load(weights, weights_only=True))
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    here = Path(__file__).resolve().parent
    x = prepare(Image.open(here.parents[1] / "weights" / "chelsea.png").convert("RGB"))[None]
    with torch.inference_mode():
        logits32, logits64 = net(x).numpy(), net.double()(x.double()).numpy()
    meta = {"format": "refnet imagenet 1", "torch": torch.__version__, "origin": __doc__.splitlines()[0]}
    np.savez_compressed(here / "imagenet.npz", logits32=logits32, logits64=logits64, meta=np.array(json.dumps(meta)))
    print(logits32.argmax(), logits32.max())


if __name__ == "__main__":
    main(sys.argv[1])
