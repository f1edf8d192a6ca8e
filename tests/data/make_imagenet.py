"""Write imagenet.npz: PyTorch's logits for the photograph that ships, with torchvision's ImageNet weights.

Usage: PYTHONPATH=.:weights python tests/data/make_imagenet.py mobilenet_v2-b0353104.pth. torchvision's own module and
its own preprocessing of weights/chelsea.png, in float32 and in float64. Runs nothing of refnet.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from configurations import import_torchvision
from PIL import Image


def main(weights):
    import_torchvision()
    from torchvision import models, transforms

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
