"""What all pages share: how a template becomes text, and how an image gets inside."""

import base64
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from molyneux.errors import DataError

_FORMATS = ("JPEG", "PNG", "WEBP")
"""What runs write; others would be given to whatever program reads them."""


@cache
def _templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("molyneux", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def fill(template: str, **values: Any) -> str:
    """A template, by its path in the package, with its values, every one escaped, without empty lines.

    Raises:
        ValueError: if the template asks for something that is not among the values.
    """
    try:
        text = _templates().get_template(template).render(**values)
    except jinja2.UndefinedError as error:
        raise ValueError(f"{template}: {error}") from error
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip()) + "\n"


def pieces(template: str, **values: Any) -> Iterator[bytes]:
    """`fill` for a long page, piece by piece: an iterable among the values is read as the page needs it.

    Raises:
        ValueError: if the template asks for something that is not among the values.
    """
    try:
        for text in _templates().get_template(template).generate(**values):
            yield text.encode()
    except jinja2.UndefinedError as error:
        raise ValueError(f"{template}: {error}") from error


def embedded(path: Path, side: int) -> str:
    """An image as a data URI, no larger than `side`.

    Raises:
        DataError: if the file is no image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no image that can be read ({error}): put it back, or remove it") from error
    return data_uri(image, side)


def data_uri(image: Image.Image, side: int) -> str:
    """An image as a data URI of a JPEG, its longest side at most `side`."""
    image = image.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
