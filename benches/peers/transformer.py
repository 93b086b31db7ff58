"""What PyTorch does of the Transformer's work that `amcl-wgpu bench` times, on the same machine:

    python benches/peers/transformer.py [--batch-size N] [--large] [--modes f32,tf32,bf16,fp16] [--compile] [--steps-only] [--seconds S] [--out FILE]

CUDA when there is one, else the CPU with all its cores. Attention (its scaled_dot_product_attention), layer norm and GELU alone, then the training step of SimCLR on a Vision Transformer,
which is written out here. AdamW is the fused one. Modes as in pytorch.py. Steps take views that are ready, so they are lower bounds. Needs torch.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

from pytorch import begin, nt_xent, options, tf32, timed, write


class Block(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(d, 1e-6), nn.LayerNorm(d, 1e-6)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.fc1, self.fc2 = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x):
        b, n, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Vit(nn.Module):
    """With a class token, fixed positions, and SimCLR's projection head."""

    def __init__(self, side, patch, d, depth, heads):
        super().__init__()
        self.patches = nn.Conv2d(3, d, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.register_buffer("positions", torch.randn(1, (side // patch) ** 2 + 1, d) * 0.02)
        self.blocks = nn.Sequential(*(Block(d, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(d, 1e-6)
        self.head = nn.Sequential(nn.Linear(d, 512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])[None]


def stepper(dev, mode, compiled, shape):
    """A training step as a function of the views [2b,3,s,s]."""
    tf32(mode == "tf32")
    torch.manual_seed(0)
    net = Vit(*shape).to(dev)
    opt = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(mode)
    scaler = torch.amp.GradScaler(dev, enabled=mode == "fp16")
    forward = torch.compile(net) if compiled else net

    def step(x):
        opt.zero_grad()
        with torch.autocast(dev, half or torch.bfloat16, enabled=half is not None):
            z = forward(x)
        scaler.scale(nt_xent(z.float())).backward()
        scaler.step(opt)
        scaler.update()

    return step


def kernels(dev, row, shape):
    """Attention, layer norm and GELU: forward, and forward with backward."""
    b, n, heads, width = shape
    d = heads * width
    qkv = torch.randn(b, n, 3 * d, device=dev, requires_grad=True)
    do = torch.randn(b, n, d, device=dev)

    def attention():
        q, k, v = qkv.view(b, n, 3, heads, width).permute(2, 0, 3, 1, 4).unbind(0)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d)

    flops = 4.0 * b * heads * n * n * width
    note = f"{b}x{n} {heads}x{width}"
    with torch.no_grad():
        row(f"attention {note}", attention, flops)
    row(f"attention forward+backward {note}", lambda: torch.autograd.grad(attention(), qkv, do), 3.5 * flops)
    norm = nn.LayerNorm(d, 1e-6).to(dev)
    x, h = torch.randn(b, n, d, device=dev, requires_grad=True), torch.randn(b, n, 4 * d, device=dev, requires_grad=True)
    dh = torch.randn(b, n, 4 * d, device=dev)
    with torch.no_grad():
        row(f"layer_norm {b}x{n}x{d}", lambda: norm(x), 0.0)
        row(f"gelu {b}x{n}x{4 * d}", lambda: F.gelu(h), 0.0)
    row(f"layer_norm forward+backward {b}x{n}x{d}", lambda: torch.autograd.grad(norm(x), (x, norm.weight, norm.bias), do), 0.0)
    row(f"gelu forward+backward {b}x{n}x{4 * d}", lambda: torch.autograd.grad(F.gelu(h), h, dh), 0.0)


def main():
    a = options().parse_args()
    dev, sync, large, rows, row = begin(a)
    steps = []
    shapes = [(256, 197, 6, 64), (256, 197, 12, 64), (512, 99, 12, 64), (256, 197, 16, 32)] if large else [(32, 65, 6, 64)]
    for shape in () if a.steps_only else shapes:
        kernels(dev, row, shape)
    b = a.batch_size or (256 if large else 8)
    networks = [("vit_small/4", "simclr", b, (32, 4, 384, 12, 6))]
    if large:
        half = max(b // 2, 2)
        networks.append(("vit_small/16", "simclr 224 px", half, (224, 16, 384, 12, 6)))
        networks.append(("vit_base/16", "simclr 224 px", half, (224, 16, 768, 12, 12)))
    for encoder, method, batch, shape in networks:
        for mode in a.modes.split(","):
            for compiled in (False, True) if a.compile else (False,):
                x = torch.randn(2 * batch, 3, shape[0], shape[0], device=dev)
                step = stepper(dev, mode, compiled, shape)
                if dev == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                s = timed(lambda: step(x), sync, 5 * a.seconds)
                peak = torch.cuda.max_memory_allocated() if dev == "cuda" else None
                name = f"{method} {mode}{' compiled' if compiled else ''}"
                steps.append(dict(encoder=encoder, name=name, batch=batch, seconds=s, views_per_s=2 * batch / s, peak_bytes=peak))
                print(f"step {encoder} {name} batch {batch}: {1e3 * s:.1f} ms, {2 * batch / s:.1f} views/s", flush=True)
    if a.out:
        write(a.out, dev, rows, steps)


if __name__ == "__main__":
    main()
