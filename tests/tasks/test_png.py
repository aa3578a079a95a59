import base64
import io

from PIL import Image

from evaluators import canvas
from tasks.png import COLOURS, data_uri, png


def figure(count, words="harm"):
    made, panels = canvas.panels(count)
    for panel in panels:
        panel.plot([0.0, 1.0], [0.0, 2.0])
        canvas.title(panel, words)
    return made


def test_the_bytes_are_the_same_every_time():
    assert png(figure(2)) == png(figure(2))
    assert png(figure(2)) != png(figure(2, "another"))


def test_figures_go_one_under_another_and_the_narrow_one_is_padded_with_white():
    wide, lone = figure(2), canvas.panels(1, size=(9.0, 2.0))[0]
    sizes = [Image.open(io.BytesIO(png(each))).size for each in (wide, lone)]
    with Image.open(io.BytesIO(png(wide, lone))) as both:
        assert both.size == (max(w for w, _ in sizes), sum(h for _, h in sizes))
        assert both.convert("RGB").getpixel((both.width - 1, 0)) == (255, 255, 255)


def test_a_picture_has_few_colours_and_is_a_png():
    with Image.open(io.BytesIO(png(figure(1)))) as image:
        assert (image.format, image.mode) == ("PNG", "P")
        assert len(image.getcolors()) <= COLOURS


def test_a_picture_goes_into_a_page_as_a_data_uri():
    head, data = data_uri(b"\x89PNG").split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == b"\x89PNG"
