"""Pictures of a release: inside its report and beside it."""

import base64
import io
import re

from PIL import Image

from tasks import pictures


def test_a_release_without_a_look_has_no_picture(world):
    release_id = world.start()
    assert pictures.drawn(world.store, release_id) == {}
    assert "![" not in pictures.illustrated(world.store, release_id).markdown


def test_the_report_holds_its_pictures_as_data_uris_that_an_artifact_takes(world):
    release_id = world.start()
    world.drive(release_id, looks=6, runs=10)
    markdown = pictures.illustrated(world.store, release_id).markdown
    found = re.findall(r"!\[([^\]]*)\]\(data:image/png;base64,([^)]*)\)", markdown)
    assert [alt for alt, _ in found] == ["evidence by candidate runs", "guardrails 1 by candidate runs"]
    for _, text in found:
        assert len(text) < 60_000
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
    assert markdown.index("![") > markdown.index("| completion |")


def test_a_file_report_has_its_pictures_beside_it(world, tmp_path):
    release_id = world.start()
    world.drive(release_id, looks=6, runs=10)
    made = pictures.write(world.store, release_id, tmp_path / "report.md")
    assert (tmp_path / "report.md").read_text(encoding="utf-8") == made.markdown
    targets = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", made.markdown)
    assert targets == ["report-evidence.png", "report-guardrails-1.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in targets)


def test_only_the_looks_that_are_shown_are_read(world, monkeypatch):
    release_id = world.start()
    world.drive(release_id, looks=8, runs=30)
    monkeypatch.setattr("evaluators.charts.SHOWN", 3)
    assert len(pictures._looks(world.store, release_id)) == 3
