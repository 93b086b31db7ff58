"""Reads what the program writes with the tools that users have: numpy, safetensors, onnxruntime, pyarrow, TensorBoard's reader, and Chromium for the report.

usage: check.py PROGRAM WORKDIR FORMS CHROMIUM
"""

import glob
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
import pyarrow.parquet
from PIL import Image
from safetensors.numpy import load_file, safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

program, work, forms, chromium = sys.argv[1:5]
shutil.rmtree(work, ignore_errors=True)
os.makedirs(work)
rng = np.random.default_rng(0)


def call(*args):
    return subprocess.run([program, *map(str, args)], check=True, capture_output=True, text=True).stdout


# A folder of the user's own images, with a name that is no ASCII.
images = f"{work}/images"
for i in range(40):
    folder = f"{images}/{['grün', 'blau'][i % 2]}"
    os.makedirs(folder, exist_ok=True)
    low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(low).resize((32, 32), Image.BILINEAR).save(f"{folder}/{i:02}.png")
run = f"{work}/run"
sets = ["model.width=8", "heads.hidden=16", "heads.out=16", "run.knn_every=1", "model.stem_stride=1"]
call("train", "--device", "cpu", "--preset", "quickstart", "--data", images, "--epochs", 3, "--batch-size", 12, "--out", run, *[a for s in sets for a in ("--set", s)])

# Embeddings: every form holds the same.
for form in ("npy", "safetensors", "csv", "parquet"):
    os.makedirs(f"{work}/{form}")
    call("embed", run, "--device", "cpu", "--split", "train", "-o", f"{work}/{form}/e.{form}")
features = np.load(f"{work}/npy/e.npy")
rows = open(f"{work}/npy/e.csv", encoding="utf-8").read().splitlines()
names = [r.rsplit(",", 1)[0] for r in rows[1:]]
labels = [r.rsplit(",", 1)[1] for r in rows[1:]]
assert features.shape == (36, 32) and features.dtype == np.float32 and set(labels) == {"grün", "blau"}, (features.shape, set(labels))
assert all(os.path.exists(f"{images}/{n}") for n in names)
assert np.array_equal(features, load_file(f"{work}/safetensors/e.safetensors")["features"])
with safe_open(f"{work}/safetensors/e.safetensors", "numpy") as f:
    assert json.loads(f.metadata()["filenames"]) == names and json.loads(f.metadata()["labels"]) == labels
table = pyarrow.parquet.read_table(f"{work}/parquet/e.parquet").to_pydict()
assert table["filename"] == names and table["label"] == labels
assert np.array_equal(np.array([table[f"embedding_{i}"] for i in range(32)], np.float32).T, features)
text = [r.split(",") for r in open(f"{work}/csv/e.csv", encoding="utf-8").read().splitlines()]
assert np.array_equal(np.array([r[1:-1] for r in text[1:]], np.float32), features)
print("embeddings: npy, safetensors, csv and parquet hold the same 36 x 32")

# ONNX: the same features from the same pixels, whatever the batch.
call("export", run, "-o", f"{work}/exported")
config = json.load(open(f"{work}/exported/config.json"))["pretrained_cfg"]
x = np.stack([np.asarray(Image.open(f"{images}/{n}")) for n in names]).astype(np.float32) / 255
x = ((x - np.float32(config["mean"])) / np.float32(config["std"])).transpose(0, 3, 1, 2).astype(np.float32)
session = onnxruntime.InferenceSession(f"{work}/exported/encoder.onnx")
for n in (1, 7, 36):
    error = np.abs(session.run(None, {"images": x[:n]})[0] - features[:n]).max() / np.abs(features).max()
    assert error < 1e-4, error
print(f"onnxruntime: features equal to {error:.1e} of the largest")
assert np.abs(session.run(None, {"images": x[::-1].copy()})[0] - features).max() > 1e-3 * np.abs(features).max(), "the comparison notices nothing"
for pool in ("token", "mean"):
    vit = f"{work}/vit-{pool}"
    sets = ['model.encoder="vit_tiny"', "model.patch=8", "model.dim=48", "model.depth=2", "model.heads=3", f'model.pool="{pool}"', "heads.hidden=16"]
    call("train", "--device", "cpu", "--preset", "quickstart", "--data", images, "--epochs", 1, "--batch-size", 12, "--out", vit, "--no-report", *[a for s in sets for a in ("--set", s)])
    call("export", vit, "-o", f"{vit}-exported")
    call("embed", vit, "--device", "cpu", "--split", "train", "-o", f"{vit}.npy")
    wanted = np.load(f"{vit}.npy")
    session = onnxruntime.InferenceSession(f"{vit}-exported/encoder.onnx")
    for n in (1, 7, 36):
        error = np.abs(session.run(None, {"images": x[:n]})[0] - wanted[:n]).max() / np.abs(wanted).max()
        assert error < 1e-4, error
    print(f"onnxruntime: a Vision Transformer's features ({pool}) equal to {error:.1e} of the largest")
    assert np.abs(session.run(None, {"images": x[::-1].copy()})[0] - wanted).max() > 1e-3 * np.abs(wanted).max(), "the comparison notices nothing"
weights = load_file(f"{work}/exported/model.safetensors")
assert weights["conv1.weight"].shape == (8, 3, 3, 3) and weights["bn1.num_batches_tracked"] == 9

# Every op's form: what the f64 twins make of three images, to the rounding of some ten sums of up to 80 products in
# float32 (10 * 80**0.5 * 2**-24 = 5e-6).
x = np.fromfile(f"{forms}/images.f32", np.float32).reshape(3, 3, 9, 9)
wanted = np.fromfile(f"{forms}/features.f32", np.float32).reshape(3, 13)
session = onnxruntime.InferenceSession(f"{forms}/forms.onnx")
for n in (1, 3):
    error = np.abs(session.run(None, {"images": x[:n]})[0] - wanted[:n]).max() / np.abs(wanted).max()
    assert error < 5e-6, error
assert np.abs(session.run(None, {"images": x[::-1].copy()})[0] - wanted).max() > 1e-3 * np.abs(wanted).max(), "the comparison notices nothing"
print(f"onnxruntime: every op's form makes what its twin makes, to {error:.1e}")

# TensorBoard lists scalars, histograms and images.
events = EventAccumulator(run, size_guidance={"images": 0, "histograms": 0, "scalars": 0})
events.Reload()
tags = events.Tags()
assert {"loss", "lr", "grad_norm", "knn_top1"} <= set(tags["scalars"]), tags
assert {"similarity_median/positive", "similarity_median/negative", "tau_median/positive_head_3", "tau_median/negative_head_1", "effective_rank"} <= set(tags["scalars"]), tags
assert len(events.Scalars("loss")) == 9 and len(events.Scalars("similarity_median/positive")) == 3, tags
assert tags["images"] == ["views"] and sorted(tags["histograms"]) == ["similarity/negative", "similarity/positive"], tags
picture = Image.open(io.BytesIO(events.Images("views")[0].encoded_image_string))
assert picture.size == (304, 804), picture.size
for role, pairs in (("positive", 3 * 24), ("negative", 3 * 24 * 22)):
    found = events.Histograms(f"similarity/{role}")
    # Every pair of the batch of 12, two views each, in the three heads, and no other; values are cosines.
    assert len(found) == 3 and all(h.histogram_value.num == pairs for h in found), [h.histogram_value.num for h in found]
    assert all(-1.001 < h.histogram_value.min <= h.histogram_value.max < 1.001 for h in found)
print("TensorBoard: scalars, histograms and images are listed")

# The report: draws at desktop and phone width, in light and dark, and nothing sticks out.
page = open(f"{run}/report.html", encoding="utf-8").read()
probe = f"{work}/probe.html"
open(probe, "w", encoding="utf-8").write(page.replace("</body>", "<script>document.title = document.documentElement.scrollWidth + ' ' + innerWidth</script></body>"))
quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--hide-scrollbars"]


def browse(*args):
    with tempfile.TemporaryDirectory() as profile:
        return subprocess.run([chromium, *quiet, f"--user-data-dir={profile}", *args], capture_output=True, text=True, timeout=120)


colours = []
for dark in (False, True):
    for width in (1280, 390):
        shot = os.path.abspath(f"{work}/report-{'dark' if dark else 'light'}-{width}.png")
        more = ["--blink-settings=preferredColorScheme=0"] if dark else []
        browse(*more, f"--window-size={width},2400", f"--screenshot={shot}", f"file://{os.path.abspath(run)}/report.html")
        pixels = np.asarray(Image.open(shot).convert("RGB"))
        assert pixels.shape[1] == width and pixels.std() > 8, shot
        colours.append(pixels[5, 5].mean())
assert colours[0] > 200 and colours[2] < 60, colours
for width in (1280, 500):
    dom = browse(f"--window-size={width},2000", "--dump-dom", f"file://{os.path.abspath(probe)}").stdout
    inside, outer = map(int, re.search(r"<title>(\d+) (\d+)</title>", dom).groups())
    assert inside <= outer, (inside, outer)
print("Chromium: the report draws at 1280 and 390 px, light and dark")
