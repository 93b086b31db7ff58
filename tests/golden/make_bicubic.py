"""Pillow's BICUBIC.

Crops that are resized: tests/golden/data/bicubic.safetensors, of kind `augmentation`. images [2,3,40,40] uint8. out_NNN
float32 [3,s,s]: Pillow's filter on floating-point images (mode F) of levels / 255, one axis after the other, each
result cut to [0, 1]. bytes_NNN uint8 [3,s,s]: `image.crop(box).resize((s, s), BICUBIC)`
of the image of bytes, which rounds after each axis. Columns come first in both, as in Pillow.

RandAugment's moves, as timm calls Pillow for them: tests/golden/data/rand_augment_bicubic.safetensors. The images are
those of rand_augment.safetensors; for each operation NAME the results [2,24,24,3].
"""

import json

import numpy as np
import PIL
from PIL import Image
from safetensors.numpy import load_file, save_file

SIDE = 40
# Top, left, height, width, side of the result: larger, smaller, one axis each, whole, same size, a corner, far smaller.
CROPS = [
    (3, 5, 14, 11, 24),
    (1, 2, 37, 35, 16),
    (8, 0, 9, 40, 20),
    (0, 0, 40, 40, 35),
    (4, 6, 24, 24, 24),
    (0, 0, 7, 7, 32),
    (0, 0, 40, 40, 5),
    (30, 33, 1, 2, 8),
]

rng = np.random.default_rng(11)
y, x = np.mgrid[0:SIDE, 0:SIDE]
smooth = np.stack([40 + 4 * x, 30 + 2 * y + x, 200 - 3 * x - y], -1)
noise = rng.integers(0, 256, smooth.shape)
# Black and white stripes, where the filter overshoots, in a corner of each.
stripes = np.repeat(255 * ((x // 3 + y // 4) % 2)[..., None], 3, -1)
images = np.stack([smooth + noise // 4, noise]).clip(0, 255).astype(np.uint8)
images[:, :16, :16] = stripes[:16, :16]


def by_axis(plane, size):
    """A plane resized to [size,size] in float32, cut to [0, 1] after each axis."""
    height = plane.shape[0]
    for shape in [(size, height), (size, size)]:
        resized = Image.fromarray(plane).resize(shape, Image.BICUBIC)
        plane = np.asarray(resized).clip(0, 1)
    return plane


tensors, cases = {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}, []
worst = 0.0
for n, (top, left, height, width, size) in enumerate(CROPS):
    image = n % 2
    cut = images[image, top : top + height, left : left + width]
    planes = (cut.astype(np.float64) / 255).astype(np.float32).transpose(2, 0, 1)
    exact = np.stack([by_axis(np.ascontiguousarray(p), size) for p in planes])
    rounded = np.asarray(Image.fromarray(cut).resize((size, size), Image.BICUBIC)).transpose(2, 0, 1)
    worst = max(worst, np.abs(exact * 255 - rounded).max())
    tensors[f"out_{n:03}"] = exact
    tensors[f"bytes_{n:03}"] = np.ascontiguousarray(rounded)
    crop = {"op": "resized_crop", "top": top, "left": left, "height": height, "width": width}
    crop |= {"size": [size, size], "interpolation": "bicubic"}
    cases.append({"key": f"out_{n:03}", "image": image, "steps": [crop]})
config = {"normalize_mean": [0.485, 0.456, 0.406], "normalize_std": [0.229, 0.224, 0.225]}
meta = {"name": "bicubic", "format": "amcl-golden-1", "kind": "augmentation", "pillow": PIL.__version__}
meta |= {"cases": cases, "config": config}
save_file(tensors, "tests/golden/data/bicubic.safetensors", {"meta": json.dumps(meta, sort_keys=True)})
print(f"bytes differ from floats by {worst:.3f} levels at most")

FILL = dict(resample=Image.BICUBIC, fillcolor=(124, 116, 104))


def affine(*numbers):
    return lambda image: image.transform(image.size, Image.AFFINE, numbers, **FILL)


moves = {
    "rotate": lambda image: image.rotate(27.0, **FILL),
    "shear_x": affine(1, 0.27, 0, 0, 1, 0),
    "shear_y": affine(1, 0, 0, -0.27, 1, 0),
    "translate_x": affine(1, 0, 0.405 * 24, 0, 1, 0),
    "translate_y": affine(1, 0, 0, 0, 1, -0.405 * 24),
}
image = load_file("tests/golden/data/rand_augment.safetensors")["image"]
moved = {name: np.stack([np.asarray(move(Image.fromarray(i))) for i in image]) for name, move in moves.items()}
save_file(moved, "tests/golden/data/rand_augment_bicubic.safetensors", {"pillow": PIL.__version__})
