"""Writes PNG images of two sizes, by no library: images.py DIR SIDE. Half are of SIDE x SIDE pixels, half are larger and
not square; their colours run smoothly, with edges."""

import os
import struct
import sys
import zlib


def png(width, height, pixel):
    rows = b"".join(b"\0" + bytes(c for x in range(width) for c in pixel(x, y)) for y in range(height))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    framed = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def main(folder, side):
    os.makedirs(folder, exist_ok=True)
    for i in range(12):
        width, height = (side, side) if i % 2 else (2 * side + 5 * i, 3 * side - i)
        pixel = lambda x, y: (
            (x * (i + 3)) % 256, (x * y // (i + 1)) % 256, 200 if (x // (i + 2) + y // 5) % 2 else 40,
        )
        with open(f"{folder}/{i:02}.png", "wb") as f:
            f.write(png(width, height, pixel))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
