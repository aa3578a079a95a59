"""Figures as the bytes of a picture, and a picture inside a page."""

import base64
import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from evaluators import canvas

#: colours that a picture is stored in: its edges stay smooth, its bytes few
COLOURS = 48


def png(*figures: Figure) -> bytes:
    """The figures, one under another, as one PNG."""
    drawn = [canvas.pixels(figure) for figure in figures]
    wide = max(pixels.shape[1] for pixels in drawn)
    padded = [np.pad(p, ((0, 0), (0, wide - p.shape[1]), (0, 0)), constant_values=255) for p in drawn]
    image = Image.fromarray(np.concatenate(padded)).quantize(COLOURS, dither=Image.Dither.NONE)
    held = io.BytesIO()
    image.save(held, format="PNG", optimize=True)
    return held.getvalue()


def data_uri(image: bytes) -> str:
    """A PNG as the target of a markdown image."""
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")


__all__ = ["data_uri", "png"]
