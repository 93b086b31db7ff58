"""The peak of PyTorch's tensors in a training step, of any batch size and on any machine:

    python benches/peers/memory.py [--batch-size N ...] [--modes f32,bf16] [--vit vit_base] [--out FILE]

Tensors without contents (FakeTensorMode) go through the step of pytorch.py, or with --vit through those of masked.py (SimCLR, MAE at 75 %, CAN at 50 %, 224 px, attention fused); MemTracker adds up what is alive. On a device the peak is higher by the libraries' workspaces (ResNet-18, batch 256,
f32: 2,415 MiB here, 3,603 and more on an H200), so this bounds PyTorch's from below. Needs torch.
"""
import argparse
import json

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

import masked
import pytorch


def peak(stepper, images):
    """Bytes alive at the worst moment of a second step on `images`, a shape: the optimiser's state then exists."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        step = stepper()
        views = torch.empty(*images)
        tracker = MemTracker()
        with tracker:
            tracker.track_external(views)
            step(views)
            tracker.reset_mod_stats()
            step(views)
        return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def resnets(mode):
    for amcl in (False, True):
        name = f"{'simclr+amcl C=3' if amcl else 'simclr'} {mode}"
        yield name, lambda amcl=amcl: pytorch.stepper("cpu", mode, amcl, False), (2, 32)


def vits(mode, encoder):
    for method, (views, _) in masked.METHODS.items():
        yield f"{method} {encoder} {mode}", lambda method=method: masked.stepper("cpu", mode, method, encoder), (views, 224)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--batch-size", type=int, nargs="+", default=[256, 512])
    p.add_argument("--modes", default="f32,bf16", help="fp16's scaler reads a value, which these tensors have not; its sizes are bf16's")
    p.add_argument("--vit", choices=masked.SIZES, help="a Vision Transformer at 224 px, in place of the ResNet-18 at 32 px")
    p.add_argument("--out")
    args = p.parse_args()
    # Fake tensors cannot be swapped in place, which is what moving a module does; all is made where it shall be.
    torch.nn.Module.to = lambda self, *_, **__: self
    rows = []
    for mode in args.modes.split(","):
        for name, stepper, (views, side) in vits(mode, args.vit) if args.vit else resnets(mode):
            for batch in args.batch_size:
                rows.append({"name": name, "batch": batch, "peak_bytes": peak(stepper, (views * batch, 3, side, side))})
                print(f"{name} batch {batch}: {rows[-1]['peak_bytes'] / 2**20:.0f} MiB", flush=True)
    if args.out:
        with open(args.out, "w") as f:
            json.dump({"torch": torch.__version__, "what": "peak of tensors alive, without workspaces", "steps": rows}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
