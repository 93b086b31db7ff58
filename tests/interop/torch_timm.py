"""Loads an exported encoder in PyTorch, torchvision and timm and compares features with those that `amcl-wgpu embed` wrote.

usage: torch_timm.py PROGRAM WORKDIR; needs torch, torchvision, timm, safetensors, numpy, onnxruntime.
"""

import subprocess

import numpy as np
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file

from shared import BOUND, NORM, compare, images, onnx, own_loader, package, pixels, program, train, work

small, large = f"{work}/images32", f"{work}/images64"
images(small, 32)
images(large, 64)

# The ImageNet stem: timm and torchvision as they are.
run, ours, names, _ = train("imagenet-stem", large, 64, 'model.encoder="resnet18"', "model.width=64", 'model.stem="imagenet"')
x = pixels(large, names, **NORM)
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
run, ours, names, _ = train("cifar-stem", small, 32, 'model.encoder="resnet18"', "model.width=64", "model.stem_stride=1")
x = pixels(small, names, **NORM)
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
    run, ours, names, _ = train(name, folder, side, *sets)
    x = pixels(folder, names, **NORM)
    compare(f"load_encoder.py, {name}", ours, own_loader(run, x))
    compare(f"amcl_wgpu.load of the run, {name}", ours, package(f"{work}/{name}", x))
    compare(f"onnxruntime, {name}", ours, onnx(run, x))

# The other way: torchvision's weights, under a prefix, in half precision, as a start.
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
