"""Images a second that PIL and torchvision read from a folder: decoded, brought to a square, as bytes.

The same work as `amcl-wgpu bench data FOLDER` times: the shorter side to SIZE, the centre cut out. PIL is one thread of
this process; torchvision is ImageFolder with a DataLoader of so many worker processes, batches of 64.

usage: python benches/peers/images.py FOLDER [SIZE] [SECONDS]
"""

import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torchvision import datasets, transforms


def pil(files, size, seconds):
    """One thread: opens, converts, crops and resizes in one call, as this program does."""
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        image = Image.open(files[count * 7919 % len(files)]).convert("RGB")
        w, h = image.size
        short = min(w, h)
        left, top = (w - short) // 2, (h - short) // 2
        box = (left, top, left + short, top + short)
        image.resize((size, size), Image.BILINEAR, box=box).tobytes()
        count += 1
    return count / (time.perf_counter() - begin)


def torchvision(folder, size, workers, seconds):
    """ImageFolder with workers, after the first batch."""
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.PILToTensor()]
    data = datasets.ImageFolder(folder, transforms.Compose(steps))
    loader = torch.utils.data.DataLoader(data, 64, shuffle=True, num_workers=workers)
    begin, count = None, 0
    for images, _ in loader:
        if begin is None:
            begin = time.perf_counter()
            continue
        count += len(images)
        if time.perf_counter() - begin > seconds:
            break
    return count / (time.perf_counter() - begin)


def main():
    folder = sys.argv[1]
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 5.0
    torch.set_num_threads(1)
    files = sorted(str(f) for f in Path(folder).rglob("*.jpg"))
    rates = {"pil, one thread": pil(files, size, seconds)}
    for workers in (1, 2):
        rates[f"torchvision, {workers} workers"] = torchvision(folder, size, workers, seconds)
    print(json.dumps({name: round(rate, 1) for name, rate in rates.items()}))


if __name__ == "__main__":
    main()
