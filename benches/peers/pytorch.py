"""What PyTorch does of the work that `amcl-wgpu bench` times, on the same machine: python benches/peers/pytorch.py [--batch-size N] [--large]

f32 throughout (TF32 off); CUDA when there is one, else the CPU with all its cores. Prints a row a kernel and the SimCLR training step of a ResNet-18 with the small stem
(without augmentation and loading, so it is the lower bound of a step), and writes JSON with --out. Needs torch only.
"""
import argparse
import json
import os
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

torch.backends.cuda.matmul.allow_tf32 = False
torch.backends.cudnn.allow_tf32 = False


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
    """ResNet-18, small stem, with SimCLR's head."""

    def __init__(self, width=64):
        super().__init__()
        layers, c = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
        for i in range(4):
            for b in range(2):
                layers.append(Block(c, width << i, 2 if i and not b else 1))
                c = width << i
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(c, 512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


def nt_xent(z, tau=0.2):
    z = F.normalize(z, dim=1)
    n = z.shape[0]
    logits = (z @ z.t() / tau).masked_fill(torch.eye(n, dtype=torch.bool, device=z.device), float("-inf"))
    return F.cross_entropy(logits, (torch.arange(n, device=z.device) + n // 2) % n)


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


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--batch-size", type=int)
    p.add_argument("--large", action="store_true")
    p.add_argument("--seconds", type=float, default=1.0)
    p.add_argument("--out")
    a = p.parse_args()
    dev = "cuda" if torch.cuda.is_available() else "cpu"
    large = a.large or dev == "cuda"
    sync = torch.cuda.synchronize if dev == "cuda" else (lambda: None)
    if dev == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
    rows = []

    def row(name, f, flops):
        s = timed(f, sync, a.seconds)
        rows.append(dict(name=name, seconds=s, gflops=flops / s / 1e9))
        print(f"{name:52} {1e3 * s:10.3f} ms {flops / s / 1e9:9.1f} GFLOP/s", flush=True)

    for n in (1024, 4096) if large else (512, 1024):
        x, y = torch.randn(n, n, device=dev), torch.randn(n, n, device=dev)
        row(f"gemm {n}x{n}x{n}", lambda: x @ y, 2.0 * n**3)
    shapes = [(512, 32, 64, 64), (512, 16, 128, 128), (512, 8, 256, 256)] if large else [(32, 32, 16, 16), (32, 16, 32, 32), (32, 16, 64, 64), (8, 32, 64, 64)]
    for n, h, c, k in shapes:
        x = torch.randn(n, c, h, h, device=dev, requires_grad=True)
        w = torch.randn(k, c, 3, 3, device=dev, requires_grad=True)
        dy = torch.randn(n, k, h, h, device=dev)
        flops = 2.0 * n * h * h * k * c * 9
        with torch.no_grad():
            row(f"conv2d 3x3/1 {n}x{h}x{h} {c}->{k}", lambda: F.conv2d(x, w, padding=1), flops)
        row(f"conv2d forward+backward 3x3/1 {n}x{h}x{h} {c}->{k}", lambda: torch.autograd.grad(F.conv2d(x, w, padding=1), (x, w), dy), 3 * flops)
    b = a.batch_size or (256 if large else 8)
    net = Net().to(dev)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    x = torch.randn(2 * b, 3, 32, 32, device=dev)

    def step():
        opt.zero_grad()
        nt_xent(net(x)).backward()
        opt.step()

    s = timed(step, sync, 5 * a.seconds)
    print(f"step resnet18 simclr batch {b}: {1e3 * s:.1f} ms, {2 * b / s:.1f} views/s")
    if a.out:
        device = torch.cuda.get_device_name() if dev == "cuda" else f"CPU, {torch.get_num_threads()} threads"
        json.dump(dict(torch=torch.__version__, device=device, rows=rows, step=dict(batch=b, seconds=s, views_per_s=2 * b / s)), open(a.out, "w"), indent=1)


main()
