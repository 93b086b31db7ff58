"""Loads an encoder that `amcl-wgpu export` wrote, in PyTorch:

    from load_encoder import load
    model, transform = load("exported")          # torch.nn.Module; features of [n,3,s,s], normalised

ResNet-18, -34 and -50 of the usual width load without this file too:
    timm, ImageNet stem:         timm.create_model("local-dir:exported", pretrained=True)
    torchvision, CIFAR stem:     m = torchvision.models.resnet18(); m.fc = torch.nn.Identity()
                                 m.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False); m.maxpool = torch.nn.Identity()
                                 m.load_state_dict(safetensors.torch.load_file("exported/model.safetensors"))
"""

import json
import os

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision import transforms
from torchvision.models.resnet import BasicBlock, Bottleneck


class Encoder(nn.Module):
    """torchvision's ResNet, its parameters' names too, with any width, depth and stem, without its classifier."""

    def __init__(self, block, blocks, width, stem, stem_stride):
        super().__init__()
        block = {"basic": BasicBlock, "bottleneck": Bottleneck}[block]
        small = stem == "cifar"
        self.conv1 = nn.Conv2d(3, width, 3 if small else 7, stem_stride if small else 2, 1 if small else 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.stages, channels = [], width
        for stage, count in enumerate(blocks):
            layers = []
            for i in range(count):
                planes, stride = width << stage, 2 if stage > 0 and i == 0 else 1
                down = None
                if stride != 1 or channels != planes * block.expansion:
                    down = nn.Sequential(
                        nn.Conv2d(channels, planes * block.expansion, 1, stride, bias=False),
                        nn.BatchNorm2d(planes * block.expansion),
                    )
                # torchvision's blocks know one base width only; planes are the width here.
                layers.append(block(channels, planes, stride, down))
                channels = planes * block.expansion
            self.stages.append(f"layer{stage + 1}")
            setattr(self, self.stages[-1], nn.Sequential(*layers))

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return x.mean((2, 3))


def load(folder):
    """The encoder in evaluation mode, and the transform that its images need."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    net = {k: config["amcl_wgpu"][k] for k in ("block", "blocks", "width", "stem", "stem_stride")}
    model = Encoder(**net)
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
    p = config["pretrained_cfg"]
    size = p["input_size"][1]
    transform = transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(p["mean"], p["std"]),
        ]
    )
    return model.eval(), transform
