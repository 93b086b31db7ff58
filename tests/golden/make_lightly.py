"""Loss files by lightly 1.6's losses in float64: python make_lightly.py FOLDER. Needs lightly, torch and safetensors.

Without a folder it writes the fixtures beside itself, one file a loss. `tests/interop/beside_lightly.py` writes more.
"""

import json
import os
import sys

import torch
import torch.nn.functional as F
from lightly import loss as lightly
from safetensors.torch import save_file


def symmetric(criterion, p1, z1, p2, z2):
    return criterion(p1, z2) + criterion(p2, z1)


def with_queue(criterion, q, k, queue):
    criterion.memory_bank.bank = F.normalize(queue, dim=1)
    criterion.memory_bank.bank_ptr = torch.zeros(1, dtype=torch.long)
    return criterion(q, k)


# By name: our kind, our settings, its inputs, how many of these (the first) have gradients, and lightly's loss.
def losses(b, d, k):
    cosine, pair, four = (
        lightly.NegativeCosineSimilarity(),
        {"z1": (b, d), "z2": (b, d)},
        {n: (b, d) for n in ("p1", "p2", "z1", "z2")},
    )
    queue = {"q": (b, d), "k": (b, d), "queue": (k, d)}
    sides = lambda t: symmetric(cosine, t["p1"], t["z1"], t["p2"], t["z2"])
    return {
        "nt_xent": ("nt_xent", {"tau": 0.3}, pair, 2, lambda t: lightly.NTXentLoss(temperature=0.3)(t["z1"], t["z2"])),
        "moco": (
            "moco",
            {"tau": 0.2},
            queue,
            1,
            lambda t: with_queue(
                lightly.NTXentLoss(temperature=0.2, memory_bank_size=(k, d)), t["q"], t["k"], t["queue"]
            ),
        ),
        "simsiam": ("simsiam", {}, four, 2, lambda t: 0.5 * sides(t)),
        # 2 - 2 cos a direction.
        "byol": ("byol", {}, four, 2, lambda t: 4 + 2 * sides(t)),
        "barlow": (
            "barlow",
            {"lambda": 5e-3, "standardize": "batch_norm"},
            pair,
            2,
            lambda t: lightly.BarlowTwinsLoss(lambda_param=5e-3)(t["z1"], t["z2"]),
        ),
        "vicreg": ("vicreg", {"weights": [25.0, 25.0, 1.0]}, pair, 2, lambda t: lightly.VICRegLoss()(t["z1"], t["z2"])),
        "vicreg_other_weights": (
            "vicreg",
            {"weights": [5.0, 10.0, 2.0]},
            pair,
            2,
            lambda t: lightly.VICRegLoss(5.0, 10.0, 2.0)(t["z1"], t["z2"]),
        ),
        "macl": (
            "macl",
            {"tau": 0.2, "alpha": 0.4, "a0": 0.1},
            pair,
            2,
            lambda t: lightly.MACLLoss(0.2, 0.4, 0.1)(t["z1"], t["z2"]),
        ),
    }


# What lightly's own f64 numbers are off the definition: VICReg's 1/B and epsilon are f32 constants of our graph; lightly
# adds 1e-8 to 1 - P in MACL.
FLOAT64_ERROR = {"vicreg": 1e-9, "macl": 1e-6}


def write(path, kind, config, shapes, differentiated, loss, seed):
    """Writes a loss file; what stands first in `shapes` has gradients. Inputs are numbers of float32."""
    g = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(*shape, generator=g).double() for name, shape in shapes.items()}
    names = list(inputs)[:differentiated]
    # Views of one image resemble each other.
    for a, b in (("z1", "z2"), ("q", "k")):
        if a in inputs and "p1" not in inputs:
            inputs[b] = (inputs[a] + 0.7 * inputs[b]).float().double()
    for name in names:
        inputs[name].requires_grad_()
    value = loss(inputs)
    value.backward()
    out = {k: v.detach() for k, v in inputs.items()}
    out.update({f"grad.{n}": inputs[n].grad for n in names})
    out["loss"] = value.detach().reshape(1)
    of_kind = {"float64_error": FLOAT64_ERROR[kind]} if kind in FLOAT64_ERROR else {}
    save_file(
        {k: v.contiguous() for k, v in out.items()},
        path,
        metadata={"meta": json.dumps({"kind": kind, "config": config, **of_kind})},
    )


# lightly adds 1e-8 to 1 - P in MACL's weight: a relative difference of that size, which the fixtures' bounds do not
# allow.
if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
    for i, (name, (kind, config, shapes, n, loss)) in enumerate(losses(8, 12, 20).items()):
        if name in ("byol", "barlow", "vicreg"):
            write(f"{folder}/lightly_{name}_b8.safetensors", kind, config, shapes, n, loss, i)
