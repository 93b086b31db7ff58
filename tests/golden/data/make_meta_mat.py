"""A small meta.mat in the form of ImageNet's devkit (an array of structures, written by SciPy), packed and not.

    pip install numpy scipy; python make_meta_mat.py
"""

import numpy as np
import scipy.io

# ILSVRC id and synset: the ids' order is not that of the names. The last one is no leaf, as the devkit's from 1001 on.
ROWS = [(1, "n00000030"), (2, "n00000010"), (3, "n00000020"), (4, "n00000001")]
FIELDS = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]


def number(*values):
    return np.array([values], dtype=float)


table = np.zeros((len(ROWS), 1), dtype=[(f, "O") for f in FIELDS])
for i, (id_, synset) in enumerate(ROWS):
    leaf = id_ < 4
    children = np.zeros((1, 0)) if leaf else number(1, 2, 3)
    table[i, 0] = (
        number(id_), synset, "kit fox, Vulpes macrotis", "a fox", number(0 if leaf else 3), children,
        number(0 if leaf else 1), number(1300),
    )
for name, packed in [("meta.mat", True), ("meta_plain.mat", False)]:
    scipy.io.savemat(name, {"synsets": table}, do_compression=packed)
