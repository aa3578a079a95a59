"""The models that a bundle pins, as the watch of what serves and the watch after a switch know them."""

import pandas as pd
import pytest

from lastgood import registry
from lastgood.bundle import KINDS, Bundle, Part
from tasks import pinned, watch_evidence

NESTED = {
    "paths": {"thorough": {"model": "large"}, "quick": {"model": "small"}},
    "routes": [{"tasks": ["*"], "path": "thorough"}],
}


def bundle(model):
    parts = [Part.of_value(kind, "1", kind) for kind in KINDS if kind != "model"]
    return Bundle([*parts, model if isinstance(model, Part) else Part.of_value("model", "1", model)])


@pytest.mark.parametrize(
    ("model", "named"),
    [
        ({"default": "large", "prices": {"small": {"input_usd_per_mtok": 1.0}}}, {"large", "small"}),
        (NESTED, {"large", "small", "thorough", "*"}),
        ("large", {"large"}),
        (Part.of_files("model", "1", {"a.txt": b"large", "b.txt": b"small"}), set()),
    ],
)
def test_every_name_of_the_model_part_is_one(model, named):
    assert set(pinned.models(bundle(model))) == named


def test_a_model_that_stands_deep_in_its_part_is_no_change_underneath(world):
    found, _ = registry.register(world.store, "support", bundle(NESTED), author="ann")
    runs = pd.DataFrame({"models": [("small",), (), ("strange", "small")]})
    with world.store.reading() as txn:
        assert watch_evidence.pinned_models(txn, found.bundle.id, runs) == {"small"}
        silent = watch_evidence.pinned_models(txn, found.bundle.id, runs.iloc[:0])
    assert silent == {"large", "small", "thorough", "*"}
