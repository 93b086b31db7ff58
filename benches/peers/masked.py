"""SimCLR, MAE and CAN on Vision Transformers in PyTorch, as their authors write them, for memory.py. Needs torch."""
import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch import nt_xent
from transformer import Block

SIZES = {"vit_tiny": (192, 12, 3), "vit_small": (384, 12, 6), "vit_base": (768, 12, 12), "vit_large": (1024, 24, 16)}


class Vit(nn.Module):
    def __init__(self, name="vit_base", image=224, patch=16):
        super().__init__()
        d, depth, heads = SIZES[name]
        self.patch, self.count, self.width = patch, (image // patch) ** 2, d
        self.embed = nn.Conv2d(3, d, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.register_buffer("pos", torch.zeros(1, self.count + 1, d))
        self.blocks, self.norm = nn.Sequential(*[Block(d, heads) for _ in range(depth)]), nn.LayerNorm(d, 1e-6)

    def forward(self, x, kept=None):
        """Images [b,3,s,s] -> tokens behind the last norm; of the patches `kept` [b,k] alone where they are given."""
        x = self.embed(x).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        if kept is not None:
            x = x.gather(1, kept.unsqueeze(-1).expand(-1, -1, self.width))
        cls = (self.cls + self.pos[:, :1]).expand(x.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([cls, x], 1)))


class Decoder(nn.Module):
    """MAE's: 512 numbers, 8 blocks, 16 heads."""

    def __init__(self, encoder, d=512, depth=8, heads=16):
        super().__init__()
        self.embed, self.mask = nn.Linear(encoder.width, d), nn.Parameter(torch.zeros(1, 1, d))
        self.register_buffer("pos", torch.zeros(1, encoder.count + 1, d))
        self.blocks, self.norm = nn.Sequential(*[Block(d, heads) for _ in range(depth)]), nn.LayerNorm(d, 1e-6)
        self.pred = nn.Linear(d, 3 * encoder.patch**2)

    def forward(self, tokens, rank):
        """Tokens [b,1+k,width], and the places of all patches among kept and hidden ones [b,l] -> patches [b,l,3pp]."""
        x = self.embed(tokens)
        hidden = self.mask.expand(x.shape[0], rank.shape[1] + 1 - x.shape[1], -1)
        patches = torch.cat([x[:, 1:], hidden], 1).gather(1, rank.unsqueeze(-1).expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], patches], 1) + self.pos
        return self.pred(self.norm(self.blocks(x)))[:, 1:]


def patches(x, p):
    b, c, s, _ = x.shape
    return x.reshape(b, c, s // p, p, s // p, p).permute(0, 2, 4, 3, 5, 1).reshape(b, (s // p) ** 2, p * p * c)


class Masked(nn.Module):
    """MAE, and CAN with a contrastive head: noised views, reconstruction of hidden patches, noise of visible ones."""

    def __init__(self, name, image, patch, ratio, contrast):
        super().__init__()
        self.encoder = Vit(name, image, patch)
        self.decoder, self.ratio, self.contrast = Decoder(self.encoder), ratio, contrast
        d = self.encoder.width
        if contrast:
            self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 128))
            self.level = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, d))

    def forward(self, x):
        e, (b, p) = self.encoder, (x.shape[0], self.encoder.patch)
        shuffle = torch.rand(b, e.count, device=x.device).argsort(1)
        rank, keep = shuffle.argsort(1), int(e.count * (1 - self.ratio))
        target = patches(x, p)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        hidden = (rank >= keep).float()
        if not self.contrast:
            pred = self.decoder(e(x, shuffle[:, :keep]), rank)
            return (((pred - target) ** 2).mean(-1) * hidden).sum() / hidden.sum()
        sigma = 0.05 * torch.rand(b, 1, 1, 1, device=x.device)
        noise = sigma * torch.randn_like(x)
        tokens = e(x + noise, shuffle[:, :keep])
        h = e.width // 2
        f = sigma.view(b, 1) * torch.exp(torch.arange(h, device=x.device) * (-9.21034 / (h - 1)))
        level = self.level(torch.cat([f.sin(), f.cos()], 1)).unsqueeze(1)
        pred = self.decoder(tokens + level, rank)
        rec = (((pred - target) ** 2).mean(-1) * hidden).sum() / hidden.sum()
        of_noise = (((pred - patches(noise, p)) ** 2).mean(-1) * (1 - hidden)).sum() / (1 - hidden).sum()
        z = self.head(tokens.mean(1)).float()
        return 0.67 * rec + 0.3 * of_noise + 0.03 * nt_xent(z.unsqueeze(0), 0.1)


class Contrast(nn.Module):
    """SimCLR by the class token, with a head of two layers."""

    def __init__(self, name, image, patch):
        super().__init__()
        self.encoder = Vit(name, image, patch)
        d = self.encoder.width
        self.head = nn.Sequential(nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 128))

    def forward(self, x):
        return nt_xent(self.head(self.encoder(x)[:, 0]).float().unsqueeze(0), 0.1)


# Views an image, and what makes the network: the share of hidden patches, and whether it compares.
METHODS = {"simclr": (2, None), "mae": (1, (0.75, False)), "can": (2, (0.5, True))}


def stepper(dev, mode, method, name="vit_base", image=224, patch=16):
    """A training step with AdamW as a function of the images [views x b,3,s,s]. Modes: f32, bf16 and fp16 (autocast)."""
    shape = METHODS[method][1]
    net = (Masked(name, image, patch, *shape) if shape else Contrast(name, image, patch)).to(dev)
    opt = torch.optim.AdamW(net.parameters(), 1e-4, (0.9, 0.95), weight_decay=0.05)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mode)

    def step(images):
        opt.zero_grad(set_to_none=True)
        with torch.autocast(dev, half, enabled=half is not None):
            loss = net(images)
        loss.backward()
        opt.step()
        return loss

    return step
