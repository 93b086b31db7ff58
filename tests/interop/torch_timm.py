"""Loads an exported encoder in PyTorch, torchvision and timm and compares features with those that `amcl-wgpu embed` wrote.

usage: torch_timm.py PROGRAM WORKDIR; needs torch, torchvision, timm, safetensors, numpy, onnxruntime.
"""

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


def call(*args):
    subprocess.run([program, *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def images(folder, side, n=24):
    for i in range(n):
        d = f"{folder}/{'ab'[i % 2]}"
        os.makedirs(d, exist_ok=True)
        low = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        Image.fromarray(low).resize((side, side), Image.BILINEAR).save(f"{d}/{i:02}.png")


def compare(what, ours, theirs):
    error = np.abs(ours - theirs).max() / np.abs(ours).max()
    print(f"{what}: largest difference {error:.1e} of the largest feature (bound {BOUND:.0e})")
    assert error < BOUND, what


def pixels(folder, names, mean, std):
    x = np.stack([np.asarray(Image.open(f"{folder}/{n}")) for n in names]).astype(np.float32) / 255
    x = (x - np.array(mean, np.float32)) / np.array(std, np.float32)
    return torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


def train(name, folder, size, *sets):
    run = f"{work}/{name}"
    args = ["--preset", "quickstart", "--overwrite", "--epochs", 1, "--batch-size", 8, "--data", folder, "--device", "cpu", "--out", run, "--no-report"]
    for s in (f"model.image_size={size}", f"data.stored_size={size}", "heads.hidden=32", *sets):
        args += ["--set", s]
    call("train", *args)
    out = f"{run}-out"
    call("export", run, "-o", f"{out}/exported")
    call("embed", run, "--device", "cpu", "-o", f"{out}/features.npy")
    names = [line.split(",")[0] for line in open(f"{out}/features.csv").read().splitlines()[1:]]
    return out, np.load(f"{out}/features.npy"), names


def own_loader(run, x):
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


import onnxruntime
import timm
import torchvision
from safetensors.torch import load_file

norm = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
small, large = f"{work}/images32", f"{work}/images64"
images(small, 32)
images(large, 64)

# The ImageNet stem: timm and torchvision as they are.
run, ours, names = train("imagenet-stem", large, 64, 'model.encoder="resnet18"', "model.width=64", 'model.stem="imagenet"')
x = pixels(large, names, **norm)
with torch.no_grad():
    model = timm.create_model(f"local-dir:{run}/exported", pretrained=True).eval()
    compare("timm local-dir, ResNet-18, ImageNet stem", ours, model(x).numpy())
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.load_state_dict(load_file(f"{run}/exported/model.safetensors"))
    compare("torchvision, ResNet-18, ImageNet stem", ours, model.eval()(x).numpy())
    broken = ours.copy()
    model.layer3[0].conv1.weight[0, 0] += 0.1
    assert np.abs(broken - model(x).numpy()).max() / np.abs(ours).max() > BOUND, "the comparison notices nothing"

# The CIFAR stem: torchvision with the documented two lines.
run, ours, names = train("cifar-stem", small, 32, 'model.encoder="resnet18"', "model.width=64", "model.stem_stride=1")
x = pixels(small, names, **norm)
with torch.no_grad():
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    model.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = torch.nn.Identity()
    model.load_state_dict(load_file(f"{run}/exported/model.safetensors"))
    compare("torchvision, ResNet-18, CIFAR stem", ours, model.eval()(x).numpy())

# Any other network: the loader that comes with the export; and ONNX.
for name, folder, side, sets in [
    ("tiny", small, 32, ('model.encoder="tiny"', "model.width=16", "model.stem_stride=2")),
    ("resnet50", small, 32, ('model.encoder="resnet50"', "model.width=64")),
]:
    run, ours, names = train(name, folder, side, *sets)
    x = pixels(folder, names, **norm)
    compare(f"load_encoder.py, {name}", ours, own_loader(run, x))
    compare(f"amcl_wgpu.load of the run, {name}", ours, package(f"{work}/{name}", x))
    session = onnxruntime.InferenceSession(f"{run}/exported/encoder.onnx")
    compare(f"onnxruntime, {name}", ours, session.run(["features"], {"images": x.numpy()})[0])

# The other way: torchvision's weights, under a prefix, in half precision, as a start.
from safetensors.torch import save_file

state = {f"module.encoder_q.{k}": v.half() if v.is_floating_point() else v for k, v in torchvision.models.resnet18().state_dict().items()}
save_file(state, f"{work}/torchvision.safetensors")
out = subprocess.run(
    [program, "train", "--preset", "quickstart", "--overwrite", "--epochs", "1", "--batch-size", "8", "--data", large, "--device", "cpu", "--out", f"{work}/init", "--no-report",
     "--set", 'model.encoder="resnet18"', "--set", "model.width=64", "--set", 'model.stem="imagenet"', "--set", "model.image_size=64",
     "--init", f"{work}/torchvision.safetensors"],
    check=True, capture_output=True, text=True).stdout
line = next(l for l in out.splitlines() if l.startswith("weights from"))
print(line)
assert "100 tensors loaded" in line and "fc.weight" in line, line
print("all equal")
