"""Real screenshots side by side, each under a line that says what it is; only their size is changed."""

import io

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

#: pixels
HEIGHT, GAP, LINE = 620, 24, 40
#: colours of the picture: enough for pages, a third of the bytes
COLOURS = 128


def beside(*shots):
    """One picture of (line, PNG) pairs at the same height."""
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 19)
    images = [(line, scaled(Image.open(io.BytesIO(png)).convert("RGB"))) for line, png in shots]
    width = sum(image.width + GAP for _, image in images) + GAP
    found = Image.new("RGB", (width, HEIGHT + LINE + GAP + 8), "#e6e8ec")
    draw, x = ImageDraw.Draw(found), GAP
    for line, image in images:
        draw.text((x, 12), line, fill="#1c2330", font=font)
        found.paste(image, (x, LINE + 8))
        draw.rectangle((x - 1, LINE + 7, x + image.width, LINE + 8 + HEIGHT), outline="#8a93a3")
        x += image.width + GAP
    return found.quantize(COLOURS)


def scaled(image):
    """The same at the common height."""
    return image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)
