"""What PyTorch does of the work that `amcl-wgpu bench` times, on the same machine:

    python benches/peers/pytorch.py [--batch-size N] [--large] [--modes f32,tf32,bf16,fp16] [--compile] [--steps-only] [--end-to-end] [--workers N] [--out FILE]

CUDA when there is one, else the CPU with all its cores. A row a kernel (f32, TF32 off), then the training step of a ResNet-18 with the small stem: SimCLR, and SimCLR + AMCL (three heads,
the default form of amcl-wgpu). Modes: f32, TF32 off; tf32; bf16 and fp16, autocast (fp16 with loss scaling); all but f32 in channels_last. Steps take views that are ready, so they are lower
bounds; with --end-to-end also steps that make their views, once by torchvision on CPU workers and once on the device, as batched tensor operations. Needs torch, and torchvision for --end-to-end.
"""
import argparse
import json
import math
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def tf32(on):
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on


tf32(False)


class Block(nn.Module):
    def __init__(self, c, k, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, k, 3, stride, 1, bias=False), nn.BatchNorm2d(k)
        self.conv2, self.bn2 = nn.Conv2d(k, k, 3, 1, 1, bias=False), nn.BatchNorm2d(k)
        self.down = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k)) if stride != 1 or c != k else nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.down(x))


class Net(nn.Module):
    """ResNet-18, small stem, with projection heads: SimCLR's, or `heads` of them as batched products."""

    def __init__(self, width=64, heads=1):
        super().__init__()
        layers, c = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
        for i in range(4):
            for b in range(2):
                layers.append(Block(c, width << i, 2 if i and not b else 1))
                c = width << i
        self.body = nn.Sequential(*layers)
        self.heads, bound = heads, c**-0.5
        self.w1 = nn.Parameter(torch.empty(heads, c, 512).uniform_(-bound, bound))
        self.b1 = nn.Parameter(torch.zeros(heads, 1, 512))
        self.w2 = nn.Parameter(torch.empty(heads, 512, 128).uniform_(-(512**-0.5), 512**-0.5))
        self.b2 = nn.Parameter(torch.zeros(heads, 1, 128))

    def forward(self, x):
        f = self.body(x).mean((2, 3)).expand(self.heads, -1, -1)
        return torch.baddbmm(self.b2, F.relu(torch.baddbmm(self.b1, f, self.w1)), self.w2)


def nt_xent(z, tau=0.2):
    z = F.normalize(z[0], dim=1)
    n = z.shape[0]
    logits = (z @ z.t() / tau).masked_fill(torch.eye(n, dtype=torch.bool, device=z.device), float("-inf"))
    return F.cross_entropy(logits, (torch.arange(n, device=z.device) + n // 2) % n)


class Amcl(nn.Module):
    """Eq. (2.4) as log-sum-exp over all candidates, beta 0.1, tau in [0.05, 2] of r = phi(z_i) . phi(z_j)."""

    def __init__(self, d=128, hidden=128):
        super().__init__()
        self.phi = nn.Sequential(nn.Linear(d, hidden), nn.ReLU(), nn.Linear(hidden, d))

    def forward(self, z, beta=0.1, low=0.05, high=2.0):
        z = F.normalize(z, dim=2)
        n, d = z.shape[1], z.shape[2]
        p = self.phi(z)
        tau = low + (high - low) * torch.sigmoid(-(p @ p.transpose(1, 2)))
        logits = z @ z.transpose(1, 2) / tau - beta * (d / 2 * tau.log() + 1 / tau)
        logits = logits.masked_fill(torch.eye(n, dtype=torch.bool, device=z.device), float("-inf"))
        target = (torch.arange(n, device=z.device) + n // 2) % n
        return F.cross_entropy(logits.flatten(0, 1), target.repeat(z.shape[0])) * z.shape[0]


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Views(torch.utils.data.Dataset):
    """Two views of generated 32x32 images, made by torchvision on the CPU."""

    def __init__(self, count):
        from torchvision import transforms as T
        from torchvision.transforms.functional import to_pil_image

        g = torch.Generator().manual_seed(0)
        pixels = torch.randint(0, 256, (1024, 3, 32, 32), dtype=torch.uint8, generator=g)
        self.images, self.count = [to_pil_image(x) for x in pixels], count
        jitter = T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
        self.view = T.Compose([T.RandomResizedCrop(32, (0.08, 1)), T.RandomHorizontalFlip(), jitter, T.RandomGrayscale(0.2), T.ToTensor(), T.Normalize(MEAN, STD)])

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        image = self.images[i % len(self.images)]
        return self.view(image), self.view(image)


def augmented(images, out=32):
    """uint8 [n,3,h,w] -> views [n,3,out,out] on the device: crop, flip, brightness, contrast, saturation and grayscale, each of its own strength per image (no hue: torch has none)."""
    n, dev = len(images), images.device
    rand = lambda low, high: torch.empty(n, device=dev).uniform_(low, high)
    scale, ratio = rand(0.08, 1.0), rand(math.log(3 / 4), math.log(4 / 3)).exp()
    w, h = (scale * ratio).sqrt().clamp(max=1), (scale / ratio).sqrt().clamp(max=1)
    flip = torch.where(rand(0, 1) < 0.5, -1.0, 1.0)
    zero = torch.zeros(n, device=dev)
    theta = torch.stack([torch.stack([w * flip, zero, rand(-1, 1) * (1 - w)], 1), torch.stack([zero, h, rand(-1, 1) * (1 - h)], 1)], 1)
    x = F.grid_sample(images.float() / 255, F.affine_grid(theta, (n, 3, out, out), align_corners=False), align_corners=False)
    grey = lambda x: (x * torch.tensor([0.299, 0.587, 0.114], device=dev).view(1, 3, 1, 1)).sum(1, keepdim=True)
    jitter = (rand(0, 1) < 0.8).view(-1, 1, 1, 1)
    one = lambda: torch.where(jitter, rand(0.6, 1.4).view(-1, 1, 1, 1), torch.ones((), device=dev))
    x = (x * one()).clamp(0, 1)
    k = one()
    x = (x * k + grey(x).mean((2, 3), keepdim=True) * (1 - k)).clamp(0, 1)
    k = one()
    x = (x * k + grey(x) * (1 - k)).clamp(0, 1)
    x = torch.where((rand(0, 1) < 0.2).view(-1, 1, 1, 1), grey(x).expand_as(x), x)
    return (x - torch.tensor(MEAN, device=dev).view(1, 3, 1, 1)) / torch.tensor(STD, device=dev).view(1, 3, 1, 1)


def stepper(dev, mode, amcl, compiled):
    """A training step as a function of the views [2b,3,32,32]."""
    tf32(mode == "tf32")
    torch.manual_seed(0)
    net = Net(heads=3 if amcl else 1).to(dev)
    loss = Amcl().to(dev) if amcl else nt_xent
    layout = torch.contiguous_format if mode == "f32" else torch.channels_last
    net = net.to(memory_format=layout)
    params = list(net.parameters()) + (list(loss.parameters()) if amcl else [])
    opt = torch.optim.SGD(params, lr=1e-3, momentum=0.9, weight_decay=5e-4)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mode)
    scaler = torch.amp.GradScaler(dev, enabled=mode == "fp16")
    forward = torch.compile(net) if compiled else net

    def step(x):
        opt.zero_grad()
        with torch.autocast(dev, half or torch.bfloat16, enabled=half is not None):
            z = forward(x.contiguous(memory_format=layout))
        value = loss(z.float())
        scaler.scale(value).backward()
        scaler.step(opt)
        scaler.update()

    return step


def timed(f, sync, seconds):
    for _ in range(2):
        f()
    sync()
    out, begin = [], time.perf_counter()
    while not out or (time.perf_counter() - begin < seconds and len(out) < 100):
        start = time.perf_counter()
        f()
        sync()
        out.append(time.perf_counter() - start)
    return statistics.median(out)


def options():
    """The arguments that transformer.py has too."""
    p = argparse.ArgumentParser()
    p.add_argument("--batch-size", type=int)
    p.add_argument("--large", action="store_true")
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--modes", default="f32")
    p.add_argument("--compile", action="store_true", help="steps through torch.compile too")
    p.add_argument("--steps-only", action="store_true", help="no kernels")
    p.add_argument("--out")
    return p


def begin(a):
    """The device, what waits for it, whether shapes are large, the rows of kernels, and what times one into them."""
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    sync = torch.cuda.synchronize if dev == "cuda" else (lambda: None)
    if dev == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
    rows = []

    def row(name, f, flops):
        s = timed(f, sync, a.seconds)
        rows.append(dict(name=name, seconds=s, gflops=flops / s / 1e9))
        print(f"{name:52} {1e3 * s:10.3f} ms {flops / s / 1e9:9.1f} GFLOP/s", flush=True)

    return dev, sync, a.large or dev == "cuda", rows, row


def write(path, dev, rows, steps):
    """What --out holds."""
    device = torch.cuda.get_device_name() if dev == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    with open(path, "w") as f:
        json.dump(dict(torch=torch.__version__, device=device, rows=rows, steps=steps), f, indent=1)


def main():
    p = options()
    p.add_argument("--end-to-end", action="store_true", help="steps that make their views too")
    p.add_argument("--workers", type=int, default=16)
    a = p.parse_args()
    dev, sync, large, rows, row = begin(a)
    for n in () if a.steps_only else (1024, 4096) if large else (512, 1024):
        x, y = torch.randn(n, n, device=dev), torch.randn(n, n, device=dev)
        row(f"gemm {n}x{n}x{n}", lambda: x @ y, 2.0 * n**3)
    shapes = [(512, 32, 64, 64), (512, 16, 128, 128), (512, 8, 256, 256)] if large else [(32, 32, 16, 16), (32, 16, 32, 32), (32, 16, 64, 64), (8, 32, 64, 64)]
    for n, h, c, k in () if a.steps_only else shapes:
        x = torch.randn(n, c, h, h, device=dev, requires_grad=True)
        w = torch.randn(k, c, 3, 3, device=dev, requires_grad=True)
        dy = torch.randn(n, k, h, h, device=dev)
        flops = 2.0 * n * h * h * k * c * 9
        with torch.no_grad():
            row(f"conv2d 3x3/1 {n}x{h}x{h} {c}->{k}", lambda: F.conv2d(x, w, padding=1), flops)
        row(f"conv2d forward+backward 3x3/1 {n}x{h}x{h} {c}->{k}", lambda: torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), dy), 3 * flops)
    for n, h, c in () if a.steps_only else [(512, 32, 64), (512, 8, 256)] if large else [(32, 32, 64)]:
        x, r, dy = (torch.randn(n, c, h, h, device=dev).to(memory_format=torch.channels_last) for _ in range(3))
        norm = nn.BatchNorm2d(c).to(dev)
        x.requires_grad_()
        r.requires_grad_()
        forward = lambda: F.relu(norm(x) + r)
        with torch.no_grad():
            row(f"batch_norm+add+relu {n}x{h}x{h}x{c}", forward, 0.0)
        row(f"batch_norm+add+relu forward+backward {n}x{h}x{h}x{c}", lambda: torch.autograd.grad(forward(), (x, r, norm.weight, norm.bias), dy), 0.0)
    for n in () if a.steps_only else (11_300_032 if large else 2_000_000,):
        w = torch.zeros(n, device=dev, requires_grad=True)
        w.grad = torch.randn(n, device=dev)
        for name, opt in ("sgd", torch.optim.SGD([w], lr=1e-3, momentum=0.9, weight_decay=1e-4)), ("adamw", torch.optim.AdamW([w], lr=1e-3, fused=True)):
            row(f"{name} {n}", opt.step, 0.0)
    b = a.batch_size or (256 if large else 8)
    x = torch.randn(2 * b, 3, 32, 32, device=dev)
    steps = []

    def step_row(name, f):
        if dev == "cuda":
            torch.cuda.reset_peak_memory_stats()
        s = timed(f, sync, 5 * a.seconds)
        peak = torch.cuda.max_memory_allocated() if dev == "cuda" else None
        steps.append(dict(name=name, batch=b, seconds=s, views_per_s=2 * b / s, peak_bytes=peak))
        print(f"step resnet18 {name} batch {b}: {1e3 * s:.1f} ms, {2 * b / s:.1f} views/s", flush=True)

    for mode in a.modes.split(","):
        for amcl in (False, True):
            for compiled in (False, True) if a.compile else (False,):
                step = stepper(dev, mode, amcl, compiled)
                step_row(f"simclr{'+amcl C=3' if amcl else ''} {mode}{' compiled' if compiled else ''}", lambda: step(x))
    if a.end_to_end:
        for mode in a.modes.split(","):
            step = stepper(dev, mode, False, False)
            loader = torch.utils.data.DataLoader(Views(b * 10000), batch_size=b, num_workers=a.workers, drop_last=True, pin_memory=dev == "cuda", persistent_workers=True)
            batches = iter(loader)
            step_row(f"simclr {mode}, views by {a.workers} CPU workers", lambda: step(torch.cat(next(batches)).to(dev, non_blocking=True)))
            del batches, loader
            images = torch.randint(0, 256, (b, 3, 32, 32), dtype=torch.uint8, device=dev)
            step_row(f"simclr {mode}, views on the device", lambda: step(torch.cat([augmented(images), augmented(images)])))
    if a.out:
        write(a.out, dev, rows, steps)


if __name__ == "__main__":
    main()
