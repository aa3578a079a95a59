"""The canvas that all pictures share: panels, colours, and the pixels.

Colours are Okabe and Ito's, which colour-blind eyes tell apart; no meaning hangs on a colour alone: lines
differ in their dashes too, regions are hatched, and words stand beside what they name.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Okabe and Ito (2008)
BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
VERMILION, ORANGE, PURPLE, GREY = "#D55E00", "#E69F00", "#CC79A7", "#666666"
#: colour and dashes of lines that are told apart
LINES = (
    (VERMILION, "-"),
    (BLUE, "--"),
    (GREEN, "-."),
    (PURPLE, (0, (1, 1))),
    (ORANGE, (0, (5, 1, 1, 1, 1, 1))),
)
#: pixels per inch
DPI = 100
#: inches of one panel, and panels side by side at most
PANEL, ABREAST = (3.6, 2.3), 2
#: inches of every picture: a lone panel is as wide as two
WIDE = 7.2
_STYLE: Any = {  # matplotlib types its keys as 300 literals
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "lines.linewidth": 1.4,
}


def panels(
    count: int, *, size: tuple[float, float] = PANEL, abreast: int = ABREAST
) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels (1 or more), rows of `abreast` at most; `size` is a panel's, inches."""
    columns = min(count, abreast)
    rows = -(-count // columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(max(size[0] * columns, WIDE), size[1] * rows), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        found: list[Axes] = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, found


def title(axes: Axes, name: str, words: str = "") -> None:
    """A panel's name, and what is said of it."""
    axes.set_title(f"{name}: {words}" if words else name, loc="left", fontsize=9, fontweight="bold")


def caption(figure: Figure, words: str) -> None:
    """What all panels show, above them."""
    figure.suptitle(words, fontsize=8, x=0.01, ha="left")


def forbidden(axes: Axes, low: float, high: float) -> None:
    """Hatch a band of the y axis that means harm."""
    axes.axhspan(low, high, facecolor="none", edgecolor=VERMILION, hatch="//", alpha=0.35, linewidth=0.0)


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    """What a figure looks like: red, green and blue, (height, width, 3)."""
    with rc_context(_STYLE):
        canvas: Any = FigureCanvasAgg(figure)  # its methods have no types
        canvas.draw()
    return np.asarray(canvas.buffer_rgba(), dtype=np.uint8)[:, :, :3]


def say(axes: Axes, words: str) -> None:
    """Words in the middle of a panel that has nothing to draw."""
    axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_yticks([])
    axes.set_xticks([])


def beside(axes: Axes, x: float, y: float, words: str, **how: Any) -> None:
    """Words at a place of the data, on a little white so that lines don't cross them out."""
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    axes.text(x, y, words, fontsize=7, bbox=box, **how)


__all__ = [
    "ABREAST", "BLACK", "BLUE", "GREEN", "GREY", "LINES", "ORANGE", "PANEL", "PURPLE", "SKY", "VERMILION",
    "beside", "caption", "forbidden", "panels", "pixels", "say", "title",
]  # fmt: skip
