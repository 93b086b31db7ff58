"""RandAugment's operations by timm and PIL on two images: tests/golden/data/rand_augment.safetensors.

image [2,24,24,3] uint8, then for each operation NAME the results [2,24,24,3]. Magnitudes as timm's level functions give
them at 9 of 10. Geometric operations are bilinear, with the fill of ImageNet's mean.
"""

import numpy as np
import PIL
import timm
from PIL import Image
from safetensors.numpy import save_file
from timm.data import auto_augment as A

SIDE = 24
FILL = dict(fillcolor=(124, 116, 104), resample=Image.BILINEAR)

rng = np.random.default_rng(7)
y, x = np.mgrid[0:SIDE, 0:SIDE]
smooth = np.stack([40 + 5 * x, 30 + 3 * y + x, 200 - 4 * x - 2 * y], -1)
images = np.stack([smooth, smooth // 2 + rng.integers(0, 90, smooth.shape)]).clip(0, 255).astype(np.uint8)

OPERATIONS = {
    "auto_contrast": lambda i: A.auto_contrast(i),
    "equalize": lambda i: A.equalize(i),
    "invert": lambda i: A.invert(i),
    "rotate": lambda i: A.rotate(i, 27.0, **FILL),
    "posterize": lambda i: A.posterize(i, 1),
    "solarize": lambda i: A.solarize(i, 26),
    "solarize_add": lambda i: A.solarize_add(i, 99),
    "color_up": lambda i: A.color(i, 1.81),
    "color_down": lambda i: A.color(i, 0.19),
    "contrast_up": lambda i: A.contrast(i, 1.81),
    "contrast_down": lambda i: A.contrast(i, 0.19),
    "brightness_up": lambda i: A.brightness(i, 1.81),
    "brightness_down": lambda i: A.brightness(i, 0.19),
    "sharpness_up": lambda i: A.sharpness(i, 1.81),
    "sharpness_down": lambda i: A.sharpness(i, 0.19),
    "shear_x": lambda i: A.shear_x(i, 0.27, **FILL),
    "shear_y": lambda i: A.shear_y(i, -0.27, **FILL),
    "translate_x": lambda i: A.translate_x_rel(i, 0.405, **FILL),
    "translate_y": lambda i: A.translate_y_rel(i, -0.405, **FILL),
}

out = {"image": images}
for name, run in OPERATIONS.items():
    out[name] = np.stack([np.asarray(run(Image.fromarray(i))) for i in images])
meta = {"timm": timm.__version__, "pillow": PIL.__version__}
save_file(out, "tests/golden/data/rand_augment.safetensors", meta)
