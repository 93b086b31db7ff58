"""What the comparisons with PyTorch, torchvision and timm share: images, runs, features."""

import os
import subprocess
import sys

import numpy as np
import torch
from PIL import Image

program, work = sys.argv[1], sys.argv[2]
os.makedirs(work, exist_ok=True)
torch.manual_seed(0)
rng = np.random.default_rng(0)
BOUND = 1e-4  # of the largest feature
NORM = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


def call(*args):
    """Runs the program; what it says."""
    return subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.PIPE, text=True).stdout


def images(folder, side, n=24):
    for i in range(n):
        d = f"{folder}/{'ab'[i % 2]}"
        os.makedirs(d, exist_ok=True)
        low = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(low).resize((side, side), Image.BILINEAR).save(f"{d}/{i:02}.png")


def difference(ours, theirs):
    """The largest difference, of the largest feature."""
    return np.abs(ours - theirs).max() / np.abs(ours).max()


def compare(what, ours, theirs):
    error = difference(ours, theirs)
    print(f"{what}: largest difference {error:.1e} of the largest feature (bound {BOUND:.0e})", flush=True)
    assert error < BOUND, what


def pixels(folder, names, mean, std):
    x = np.stack([np.asarray(Image.open(f"{folder}/{n}")) for n in names]).astype(np.float32) / 255
    x = (x - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def train(name, folder, size, *sets, more=(), batch=8):
    """Trains for an epoch, exports, embeds: the folder of what was made, features, names of images, what was said."""
    run = f"{work}/{name}"
    args = ["--preset", "quickstart", "--overwrite", "--epochs", 1, "--batch-size", batch, "--data", folder, "--device", "cpu", "--out", run, "--no-report"]
    for s in (f"model.image_size={size}", f"data.stored_size={size}", "heads.hidden=32", *sets):
        args += ["--set", s]
    said = call("train", *args, *more)
    out = f"{run}-out"
    call("export", run, "--overwrite", "-o", f"{out}/exported")
    call("embed", run, "--overwrite", "--device", "cpu", "-o", f"{out}/features.npy")
    names = [line.split(",")[0] for line in open(f"{out}/features.csv").read().splitlines()[1:]]
    return out, np.load(f"{out}/features.npy"), names, said


def own_loader(run, x):
    """The loader that comes with the export."""
    sys.path.insert(0, f"{run}/exported")
    sys.modules.pop("load_encoder", None)
    from load_encoder import load

    model, _ = load(f"{run}/exported")
    sys.path.pop(0)
    with torch.no_grad():
        return model(x).numpy()


def package(run, x):
    """The Python package's loader, of the run itself."""
    os.environ["AMCL_WGPU"] = os.path.abspath(program)
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "assets", "python"))
    import amcl_wgpu

    model, _ = amcl_wgpu.load(run)
    with torch.no_grad():
        return model(x).numpy()


def onnx(run, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(f"{run}/exported/encoder.onnx")
    return session.run(["features"], {"images": x.numpy()})[0]
