"""Losses, kNN and views beside those of lightly 1.6 and torchvision.

usage: beside_lightly.py PROGRAM WORKDIR VIEWS; VIEWS is the file that the test `views_for_torchvision` writes. Needs
torch, torchvision, lightly, safetensors and numpy. Every comparison has a control that must be noticed.
"""

import json
import os
import subprocess
import sys

import numpy as np
import torch
import torchvision.transforms.functional as T
from lightly.utils.benchmarking import knn_predict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
from make_lightly import losses, write

program, work, views = sys.argv[1:4]
os.makedirs(work, exist_ok=True)


def call(*args, code=0):
    done = subprocess.run([program, "--json", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == code, f"{args}: {done.stderr}"
    return json.loads(done.stdout)


# Losses and gradients, both in float64: sums of some 1e4 terms, 1e-12. VICReg's 1/B and epsilon are f32 constants of
# our graph, whose rounding of 6e-8 moves a mean, and counts squared in what is centred at it. lightly adds 1e-8 to
# 1 - P in MACL, which counts as much as 1 / (1 - P) has it.
BOUNDS = {"vicreg": 1e-9, "macl": 1e-6}


def worst(path, code):
    return {c["name"]: c["relative_error"] for c in call("loss", path, "--verify", code=code)["compared"]}


def changed(path, to, **config):
    """The file with another configuration, whose results it no longer has."""
    with safe_open(path, "pt") as f:
        meta = json.loads(f.metadata()["meta"])
    meta["config"].update(config)
    save_file(load_file(path), to, metadata={"meta": json.dumps(meta)})


OTHER = {
    "nt_xent": {"tau": 0.303},
    "moco": {"tau": 0.202},
    "barlow": {"standardize": "unbiased"},
    "vicreg": {"weights": [25.2, 25, 1]},
    "macl": {"alpha": 0.41},
}
for b, d, k in ((7, 5, 9), (16, 32, 64), (64, 128, 200)):
    for seed, (name, (kind, config, shapes, n, loss)) in enumerate(losses(b, d, k).items()):
        path = f"{work}/{name}.safetensors"
        write(path, kind, config, shapes, n, loss, 100 + seed)
        bound = BOUNDS.get(kind, 1e-11)
        found = worst(path, 0)
        assert len(found) == 1 + n and max(found.values()) < bound, (name, found)
        off = f"loss off by {found['loss']:.0e}, all by {max(found.values()):.0e}"
        print(f"{name} of {b} x {d}: {off} (bound {bound:.0e})")
        if kind in OTHER:
            control = f"{work}/{name}-other.safetensors"
            changed(path, control, **OTHER[kind])
            assert max(worst(control, 1).values()) > 100 * bound, f"{name}: another setting went unnoticed"
        # A gradient of another shape, as an empty one, is refused.
        tensors = load_file(path)
        tensors[[t for t in tensors if t.startswith("grad.")][0]] = torch.zeros(0)
        with safe_open(path, "pt") as f:
            save_file(tensors, f"{work}/empty.safetensors", metadata=f.metadata())
        refused = subprocess.run(
            [program, "loss", f"{work}/empty.safetensors", "--verify"], capture_output=True, text=True
        )
        assert refused.returncode == 1 and "has shape [0]" in refused.stderr, refused.stderr

# kNN: the accuracy of our votes and of lightly's, of the same features, to one image in a tie.
run = f"{work}/run"
sets = [
    "data.shapes_train=512",
    "data.shapes_test=200",
    "model.width=8",
    "heads.hidden=16",
    "heads.out=16",
    "run.knn_every=0",
]
call(
    "train",
    "--device",
    "cpu",
    "--epochs",
    2,
    "--batch-size",
    64,
    "--no-report",
    "--overwrite",
    "--out",
    run,
    *[a for s in sets for a in ("--set", s)],
)


def features(split):
    file = f"{work}/{split}.npy"
    call("embed", run, "--overwrite", "--device", "cpu", "--split", split, "-o", file)
    labels = [line.rsplit(",", 1)[1] for line in open(f"{work}/{split}.csv", encoding="utf-8").read().splitlines()[1:]]
    return torch.nn.functional.normalize(torch.from_numpy(np.load(file)), dim=1), labels


(bank, known), (query, truth) = features("train"), features("test")
classes = sorted(set(known))
known, truth = (torch.tensor([classes.index(c) for c in labels]) for labels in (known, truth))
shuffled = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))]
for k, t in ((1, 0.1), (20, 0.07), (50, 0.1)):
    ours = call("eval", "knn", run, "--device", "cpu", "--k", k, "--t", t)["knn_top1"]
    accuracy = (
        lambda labels: 100
        * (knn_predict(query, bank.T, labels, len(classes), k, t)[:, 0] == truth).double().mean().item()
    )
    theirs, control = accuracy(known), accuracy(shuffled)
    print(f"kNN k={k} t={t}: ours {ours:.1f} %, lightly's {theirs:.1f} %")
    assert abs(ours - theirs) <= 100 / len(truth) + 1e-9 and abs(ours - control) > 3, (ours, theirs, control)

# Views: what we drew and made, and what torchvision makes of the same numbers, to half a step of 8 bits on the image's
# scale.
t = load_file(views)
with safe_open(views, "pt") as f:
    meta = json.loads(f.metadata()["meta"])
mean, std = (torch.tensor(meta[k]) for k in ("mean", "std"))
BOUND = 0.5 / 255
ADJUST = (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation, T.adjust_hue)


def torchvisions(image, row):
    size = t["views"].shape[1]
    x = T.resized_crop(image.permute(2, 0, 1).float() / 255, *(int(v) for v in row[:4]), [size, size], antialias=True)
    x = T.hflip(x) if row[4] else x
    code, factors = int(row[5]), [float(v) for v in row[6:10]]
    for _ in range(4):
        code, which = divmod(code, 5)
        x = ADJUST[which](x, factors[which]) if which < 4 else x
    x = T.rgb_to_grayscale(x, 3) if row[10] else x
    x = T.gaussian_blur(x, 2 * int(row[11]) + 1, float(row[12])) if row[11] else x
    x = T.solarize(x, float(row[13])) if row[13] <= 1 else x
    return T.normalize(x, mean.tolist(), std.tolist()).permute(1, 2, 0)


n, off, control = len(t["images"]), 0.0, 0.0
for i, (row, view) in enumerate(zip(t["rows"], t["views"])):
    # Where a value stands at solarisation's threshold, rounding decides which side it falls on.
    image = t["images"][i % n]
    apart = lambda x: ((x - view).abs() * std)
    found = apart(torchvisions(image, row))
    unsure = torch.full_like(view, 0.0) if row[13] > 1 else (((view * std + mean) - (1 - row[13])).abs() < 2e-3).float()
    off = max(off, (found * (1 - unsure)).max().item())
    control = max(control, apart(torchvisions(image.flip(0), row)).max().item())
kinds = {
    name: int(count)
    for name, count in (
        ("flipped", (t["rows"][:, 4] > 0).sum()),
        ("gray", (t["rows"][:, 10] > 0).sum()),
        ("blurred", (t["rows"][:, 11] > 0).sum()),
        ("solarised", (t["rows"][:, 13] <= 1).sum()),
    )
}
print(f"{len(t['rows'])} views ({kinds}): largest difference {off:.1e} (bound {BOUND:.1e})")
assert off < BOUND < control and all(kinds.values()), (off, control, kinds)
print("all equal")
