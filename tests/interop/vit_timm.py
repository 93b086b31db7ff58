"""Vision Transformers between timm and this program, both ways: weights of timm by `--init`, exports in timm, PyTorch and
onnxruntime; position embeddings of another grid beside MAE's and timm's.

usage: vit_timm.py PROGRAM WORKDIR; needs torch, timm, safetensors, numpy, onnxruntime.
"""

import numpy as np
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.layers import resample_abs_pos_embed

from shared import BOUND, NORM, compare, difference, images, onnx, own_loader, package, pixels, train, work

WIDTHS = {"tiny": (192, 3), "small": (384, 6)}
# A step so short that no weight changes: f32 has 2^-24 of a weight, which is 1e-2.
STILL = ("optim.lr=1e-12", "optim.weight_decay=0")


def network(name, side, patch, pool):
    """timm's, with weights that are no start: norms, biases and positions too."""
    model = timm.create_model(f"vit_{name}_patch16_224", img_size=side, patch_size=patch, num_classes=0, global_pool=pool, fc_norm=False)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return model.eval()


def features(model, x):
    with torch.no_grad():
        return model(x).numpy()


def settings(name, patch, pool):
    pool = {"token": "token", "avg": "mean"}[pool]
    return (f'model.encoder="vit_{name}"', f"model.patch={patch}", f'model.pool="{pool}"', 'model.positions="learned"')


def local_dir(run):
    return timm.create_model(f"local-dir:{run}/exported", pretrained=True).eval()


for side, patch, count in [(32, 4, 24), (96, 8, 8), (224, 16, 4)]:
    folder = f"{work}/images{side}"
    images(folder, side, count)
    for name in WIDTHS:
        for pool in ("token", "avg"):
            what = f"ViT-{name}/{patch}, {side} px, {pool}"
            theirs = network(name, side, patch, pool)
            # As MoCo v3 saves: behind a prefix, with a projector.
            state = {f"module.base_encoder.{k}": v.contiguous() for k, v in theirs.state_dict().items()}
            state["module.base_encoder.head.0.weight"] = torch.zeros(8, 8)
            save_file(state, f"{work}/weights.safetensors")
            more = ("--init", f"{work}/weights.safetensors")
            run, ours, names, said = train(f"vit-{name}-{side}-{pool}", folder, side, *settings(name, patch, pool), *STILL, more=more, batch=count // 2 if side > 32 else 8)
            assert "150 tensors loaded" in said, said
            x = pixels(folder, names, **NORM)
            compare(f"timm's weights here, {what}", ours, features(theirs, x))
            compare(f"timm local-dir, {what}", ours, features(local_dir(run), x))
            compare(f"load_encoder.py, {what}", ours, own_loader(run, x))
            compare(f"onnxruntime, {what}", ours, onnx(run, x))
            if side == 32:
                compare(f"amcl_wgpu.load of the run, {what}", ours, package(f"{work}/vit-{name}-{side}-{pool}", x))
                broken = local_dir(run)
                with torch.no_grad():
                    broken.blocks[7].attn.qkv.bias[: 8] += 0.5
                assert difference(ours, features(broken, x)) > BOUND, "the comparison notices nothing"

# A trained network of a shape that timm has no name for.
folder = f"{work}/images32"
sets = ('model.encoder="vit_tiny"', "model.dim=96", "model.depth=4", "model.heads=4", "model.mlp_ratio=3", "model.frozen_patches=true")
run, ours, names, _ = train("vit-d96", folder, 32, *sets)
x = pixels(folder, names, **NORM)
compare("timm local-dir, d 96, depth 4, trained here", ours, features(local_dir(run), x))
compare("onnxruntime, d 96, depth 4, trained here", ours, onnx(run, x))

# Position embeddings of another grid, larger to smaller and smaller to larger.
for side, from_side in [(96, 224), (224, 96)]:
    folder = f"{work}/images{side}"
    large = network("tiny", from_side, 16, "token")
    save_file(large.state_dict(), f"{work}/weights.safetensors")
    more = ("--init", f"{work}/weights.safetensors")
    count = 4 if side == 96 else 2
    run, ours, names, said = train(f"vit-resized-{side}", folder, side, *settings("tiny", 16, "token"), *STILL, more=more, batch=count)
    n, m = from_side // 16, side // 16
    assert f"{n}x{n} positions were resized to {m}x{m}" in said, said
    table = load_file(f"{run}/exported/model.safetensors")["pos_embed"]
    # MAE's interpolate_pos_embed.
    grid = large.pos_embed[:, 1:].reshape(1, n, n, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(m, m), mode="bicubic", align_corners=False)
    of_mae = torch.cat([large.pos_embed[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1).detach()
    compare(f"positions {n}x{n} to {m}x{m}, MAE's", of_mae.numpy(), table.numpy())
    of_timm = resample_abs_pos_embed(large.pos_embed, new_size=[m, m]).detach()
    print(f"positions {n}x{n} to {m}x{m}: timm's, against aliasing, differ by {difference(of_timm.numpy(), table.numpy()):.1e} of the largest")
    theirs = network("tiny", side, 16, "token")
    state = {**large.state_dict(), "pos_embed": of_mae}
    theirs.load_state_dict(state)
    compare(f"features with positions {n}x{n} to {m}x{m}", ours, features(theirs, pixels(folder, names, **NORM)))
print("all equal")
