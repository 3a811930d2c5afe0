"""PNGs that Pillow cannot write."""

import struct
import zlib


def png_that_claims(width: int, height: int, bits: int = 8, pixels: bytes = b"") -> bytes:
    """A PNG's head for a photo in colour of any size, with or without the pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def deep_colour_png(*values: int) -> bytes:
    """Eight by eight pixels of one colour, with 16 bits a channel."""
    return png_that_claims(8, 8, 16, zlib.compress((b"\0" + struct.pack(">3H", *values) * 8) * 8))
