"""Values of SSIM, PSNR and LPIPS on photographs, as scikit-image, torchmetrics and the lpips package give them.

Usage: make_metric_goldens.py DEPS_FOLDER > metrics.json. Needs scikit-image, torchmetrics, lpips (with torchvision).
The photographs are those that ci/setup unpacks; the distortion is integer arithmetic that the C++ test repeats. The lpips
package brings its linear weights; its backbones are filled from the same files that i2i reads, since they cannot be downloaded
everywhere.
"""
import json
import sys
from pathlib import Path

import lpips
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

CROPS = {"astronaut.png": (96, 32, 192, 160), "chelsea.png": (60, 40, 161, 131), "coffee.png": (200, 100, 128, 128)}


def distort(image: np.ndarray) -> np.ndarray:
    """v + (7 x + 13 y + 5 c) mod 31 - 15, clamped to bytes."""
    y, x, c = np.indices(image.shape)
    return np.clip(image.astype(int) + (7 * x + 13 * y + 5 * c) % 31 - 15, 0, 255).astype(np.uint8)


def shift(image: np.ndarray) -> np.ndarray:
    """The picture moved two pixels to the right, its first column repeated."""
    return np.concatenate([image[:, :1], image[:, :1], image[:, :-2]], axis=1)


def build_lpips(net: str, deps: Path) -> torch.nn.Module:
    metric = lpips.LPIPS(net=net, pretrained=True, pnet_rand=True, verbose=False)
    file, prefix = {"alex": ("alexnet", "AlexNet_0"), "vgg": ("vgg16", "VGG16_0")}[net]
    weights = load_file(deps / "lpips" / f"{file}.safetensors")
    convolutions = [m for m in metric.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for i, convolution in enumerate(convolutions):
        convolution.weight.data = weights[f"{prefix}.Conv_{i}.kernel"].permute(3, 2, 0, 1).contiguous()
        convolution.bias.data = weights[f"{prefix}.Conv_{i}.bias"]
    return metric.eval()


def main() -> None:
    deps = Path(sys.argv[1])
    metrics = {net: build_lpips(net, deps) for net in ("alex", "vgg")}
    rows = []
    for name, (left, top, width, height) in CROPS.items():
        image = np.asarray(Image.open(deps / "photographs" / name).convert("RGB"))[top : top + height, left : left + width]
        for kind, other in ("distort", distort(image)), ("shift", shift(image)):
            a, b = image / 255.0, other / 255.0
            ta, tb = (torch.from_numpy(v).permute(2, 0, 1)[None].float() for v in (a, b))
            row = {"photograph": name, "crop": [left, top, width, height], "change": kind}
            row["ssim"] = structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                                channel_axis=2, data_range=1.0)
            row["ssim_torchmetrics"] = float(structural_similarity_index_measure(ta.double(), tb.double(), data_range=1.0))
            row["psnr"] = peak_signal_noise_ratio(a, b, data_range=1.0)
            with torch.no_grad():
                row["lpips"] = float(metrics["alex"](ta * 2 - 1, tb * 2 - 1))
                row["lpips_vgg"] = float(metrics["vgg"](ta * 2 - 1, tb * 2 - 1))
            rows.append(row)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
