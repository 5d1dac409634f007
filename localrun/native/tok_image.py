"""A vocabulary as bytes that can be kept and used where they lie; see csrc/lr_image.h."""

from __future__ import annotations

import mmap
import os

from localrun._ffi import ffi, lib
from localrun.native.tok import Vocab
from localrun.value import dataclass

NOTES = lib.LR_IMAGE_NOTES
#: Images of another build of the core are refused.
BUILD = int(lib.lr_image_build())


@dataclass(frozen=True, slots=True)
class Label:
    """What an image was made of: the first `prefix` bytes of a file of `file_size` bytes, with this sum."""

    seed: tuple[int, int]
    sum: tuple[int, int]
    prefix: int
    file_size: int
    notes: tuple[int, ...]  # NOTES small numbers: the caller's


def sum_of(seed: tuple[int, int], data: bytes | memoryview | mmap.mmap) -> tuple[int, int]:
    """128 bits that depend on every byte; nothing for secrets."""
    out = ffi.new("uint64_t[2]")
    with ffi.from_buffer(data) as raw:
        lib.lr_image_sum(ffi.new("uint64_t[2]", seed), raw, len(raw), out)
    return out[0], out[1]


def new_seed() -> tuple[int, int]:
    return int.from_bytes(os.urandom(8), "little"), int.from_bytes(os.urandom(8), "little")


def image_of(vocab: Vocab, label: Label) -> bytearray | None:
    """None for a vocabulary of a kind that has none."""
    size = ffi.new("uint64_t *")
    if lib.lr_image_size(vocab.handle, size) != lib.LR_OK:
        return None
    image = bytearray(size[0])
    raw = ffi.new("lr_image_label *", (label.seed, label.sum, label.prefix, label.file_size, label.notes))
    with ffi.from_buffer("uint8_t[]", image) as out:
        status = lib.lr_image_write(vocab.handle, raw, out, len(image))
    return image if status == lib.LR_OK else None


def label_of(image: bytes | mmap.mmap) -> Label | None:
    """None where the head is damaged or of another build."""
    label = ffi.new("lr_image_label *")
    with ffi.from_buffer(image) as raw:
        if lib.lr_image_read_label(raw, len(raw), label) != lib.LR_OK:
            return None
    return Label(tuple(label.seed), tuple(label.sum), label.prefix, label.file_size, tuple(label.notes))


def open_image(image: mmap.mmap) -> Vocab | None:
    """A vocabulary that lies in the image and keeps it alive. None where it is damaged, or was made to deceive."""
    raw, out = ffi.from_buffer(image), ffi.new("lr_vocab **")
    if lib.lr_image_open(raw, len(raw), out) != lib.LR_OK:
        return None
    return Vocab.adopt(out[0], raw)
