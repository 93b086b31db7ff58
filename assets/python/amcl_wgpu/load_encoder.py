"""Loads an encoder that `amcl-wgpu export` wrote, in PyTorch:

    from load_encoder import load
    model, transform = load("exported")          # torch.nn.Module; features of [n,3,s,s], normalised

Vision Transformers of any size, and ResNet-18, -34 and -50 of the usual width, load without this file too:
    timm, ViT, ImageNet stem:    timm.create_model("local-dir:exported", pretrained=True)
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


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(n, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, hidden)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbedding(nn.Module):
    def __init__(self, dim, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class ViT(nn.Module):
    """timm's Vision Transformer, its parameters' names too, without its classifier. The feature of an image is its
    class token or the mean over its patches' tokens, both behind the norm; `tokens` gives all of them, the class token
    first.
    """

    def __init__(self, image_size, patch, dim, depth, heads, hidden, pool):
        super().__init__()
        self.pool = pool
        self.patch_embed = PatchEmbedding(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, hidden) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def tokens(self, x):
        x = self.patch_embed(x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))

    def forward(self, x):
        x = self.tokens(x)
        return x[:, 1:].mean(1) if self.pool == "mean" else x[:, 0]


FAMILIES = {
    "resnet": (Encoder, ("block", "blocks", "width", "stem", "stem_stride")),
    "vit": (ViT, ("image_size", "patch", "dim", "depth", "heads", "hidden", "pool")),
}


def load(folder):
    """The encoder in evaluation mode, and the transform that its images need."""
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    family, keys = FAMILIES[config["amcl_wgpu"].get("family", "resnet")]
    model = family(**{k: config["amcl_wgpu"][k] for k in keys})
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
    p = config["pretrained_cfg"]
    size = p["input_size"][1]
    transform = transforms.Compose(
        [
            transforms.Resize(
                round(size / p["crop_pct"]),
                transforms.InterpolationMode(p.get("interpolation", "bilinear")),
            ),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(p["mean"], p["std"]),
        ]
    )
    return model.eval(), transform
