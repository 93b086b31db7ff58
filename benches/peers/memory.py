"""The peak of PyTorch's tensors in a training step, of any batch size and on any machine:

    python benches/peers/memory.py [--batch-size N ...] [--modes f32,bf16] [--out FILE]

Tensors without contents (FakeTensorMode) go through the step of pytorch.py; MemTracker adds up what is alive. On a device the peak is higher by the libraries' workspaces (ResNet-18, batch 256,
f32: 2,415 MiB here, 3,603 and more on an H200), so this bounds PyTorch's from below. Needs torch.
"""
import argparse
import json

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker

import pytorch


def peak(mode, batch, amcl):
    """Bytes alive at the worst moment of a second step: the optimiser's state then exists."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        step = pytorch.stepper("cpu", mode, amcl, False)
        views = torch.empty(2 * batch, 3, 32, 32)
        tracker = MemTracker()
        with tracker:
            tracker.track_external(views)
            step(views)
            tracker.reset_mod_stats()
            step(views)
        return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--batch-size", type=int, nargs="+", default=[256, 512])
    p.add_argument("--modes", default="f32,bf16", help="fp16's scaler reads a value, which these tensors have not; its sizes are bf16's")
    p.add_argument("--out")
    args = p.parse_args()
    # Fake tensors cannot be swapped in place, which is what moving a module does; all is made where it shall be.
    torch.nn.Module.to = lambda self, *_, **__: self
    rows = []
    for mode in args.modes.split(","):
        for amcl in (False, True):
            for batch in args.batch_size:
                name = f"{'simclr+amcl C=3' if amcl else 'simclr'} {mode}"
                rows.append({"name": name, "batch": batch, "peak_bytes": peak(mode, batch, amcl)})
                print(f"{name} batch {batch}: {rows[-1]['peak_bytes'] / 2**20:.0f} MiB")
    if args.out:
        with open(args.out, "w") as f:
            json.dump({"torch": torch.__version__, "what": "peak of tensors alive, without workspaces", "steps": rows}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
