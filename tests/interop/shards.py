"""Tar files by Python's tarfile and parquet files by Hugging Face datasets, and the same images decoded by PIL.

usage: shards.py write FOLDER, then `AMCL_SHARDS=FOLDER cargo test --test suite -- --ignored shards::pixels_for_python`,
then shards.py check FOLDER
"""

import io
import json
import os
import sys
import tarfile

import numpy as np
from PIL import Image

SIDE = 64
CLASSES = ["ant", "bee", "cow", "crane", "crane"]
PARTS = {"train": 60, "validation": 15}
# libjpeg-turbo, which PIL has, and zune round the transform and the colours apart: a few levels at most.
LEVELS = 6


def bare(name):
    """A number's digits, so that a name of a member is the number of an image."""
    return int("".join(c for c in os.path.splitext(os.path.basename(name))[0] if c.isdigit()))


def images(part):
    """Bytes of images, squares of the side that is kept, with their endings and classes."""
    rng = np.random.default_rng(len(part))
    out = []
    for i in range(PARTS[part]):
        low = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(low).resize((SIDE, SIDE), Image.BILINEAR)
        kinds = [("JPEG", "jpg", {"quality": 90}), ("PNG", "png", {}), ("WEBP", "webp", {"lossless": True})]
        kind, ending, how = kinds[i % 3]
        file = io.BytesIO()
        image.save(file, kind, **how)
        out.append((file.getvalue(), ending, i * 7 % len(CLASSES)))
    return out


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def write(root):
    import datasets
    import pyarrow.parquet

    formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    for name, form in formats.items():
        # WebDataset: two shards to train on; long names, so that headers are extended.
        folder = f"{root}/webdataset-{name}"
        os.makedirs(folder, exist_ok=True)
        for part in PARTS:
            for shard in range(2):
                with tarfile.open(f"{folder}/own-{part}-{shard:06}.tar", "w", format=form) as tar:
                    all_images = list(enumerate(images(part)))
                    half = len(all_images) // 2
                    for i, (data, ending, label) in all_images[half:] if shard else all_images[:half]:
                        long = "deep/" * 12 if name == "ustar" else "d" * 120 + "/"
                        key = f"{long}{i:06}"
                        add(tar, f"{key}.{ending}", data)
                        add(tar, f"{key}.cls", str(label).encode())
        with open(f"{folder}/classes.txt", "w") as f:
            f.write("\n".join(CLASSES) + "\n")
        # Folders of classes, as `tar cf` leaves them.
        with tarfile.open(f"{root}/folders-{name}.tar", "w", format=form) as tar:
            for part in PARTS:
                for i, (data, ending, label) in reversed(list(enumerate(images(part)))):
                    add(tar, f"./{part}/class{label}/{i:06}.{ending}", data)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=distinct())})
    for name in ("hub", "groups", "zstd"):
        for part in PARTS:
            rows = images(part)
            image = [{"bytes": d, "path": f"{i}.{e}"} for i, (d, e, _) in enumerate(rows)]
            columns = {"image": image, "label": [label for *_, label in rows]}
            own = datasets.Dataset.from_dict(columns, features=features)
            os.makedirs(f"{root}/parquet-{name}/data", exist_ok=True)
            file = f"{root}/parquet-{name}/data/{part}-00000-of-00001.parquet"
            if name == "zstd":
                table = own.with_format("arrow")[:]
                pyarrow.parquet.write_table(table, file, compression="zstd", row_group_size=11)
            else:
                own.to_parquet(file, **({"batch_size": 7} if name == "groups" else {}))
    print("written with datasets", datasets.__version__)


def distinct():
    """`datasets` takes no class twice."""
    return CLASSES[:4] + ["other crane"]


def check(root):
    sets = sorted(d for d in os.listdir(root) if os.path.exists(f"{root}/{d}.json"))
    assert len(sets) == 9, sets
    for name in sets:
        said = json.load(open(f"{root}/{name}.json"))
        worst = 0
        classes = [f"class{i}" for i in range(5)] if name.startswith("folders") else (
            distinct() if name.startswith("parquet") else CLASSES[:4] + ["crane (4)"]
        )
        assert said["classes"] == classes, (name, said["classes"])
        for part, ours in zip(PARTS, [said["train"], said["test"]]):
            pixels = np.fromfile(f"{root}/{name}.{'train' if part == 'train' else 'test'}.bin", dtype=np.uint8)
            pixels = pixels.reshape(-1, SIDE, SIDE, 3)
            want = images(part)
            assert len(pixels) == len(want) == len(ours["labels"]), name
            seen = set()
            for got, label, member in zip(pixels, ours["labels"], ours["names"]):
                i = bare(member)
                seen.add(i)
                data, ending, cls = want[i]
                assert cls == label, (name, member)
                theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=int)
                apart = np.abs(got.astype(int) - theirs).max()
                assert apart <= (LEVELS if ending == "jpg" else 0), (name, member, apart)
                worst = max(worst, apart)
                # The control: the next image is another one.
                other = np.asarray(Image.open(io.BytesIO(want[(i + 1) % len(want)][0])).convert("RGB"), dtype=int)
                assert np.abs(got.astype(int) - other).max() > 10 * LEVELS
            assert len(seen) == len(want), name
        print(f"{name}: {sum(PARTS.values())} images, labels and names right, at most {worst} levels from PIL")


{"write": write, "check": check}[sys.argv[1]](sys.argv[2])
