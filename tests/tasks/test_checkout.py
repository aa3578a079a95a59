"""One checkout, one version."""

from pathlib import Path

import pytest

import lastgood
from lastgood.errors import SchemaMismatch
from tasks import checkout


def test_the_checkouts_own_copy_is_accepted():
    checkout.verify()
    checkout.verify(Path(lastgood.__file__))


def test_another_copy_is_refused_and_named(tmp_path):
    other = tmp_path / "site-packages" / "lastgood" / "__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("")
    with pytest.raises(SchemaMismatch, match=f"from {tmp_path / 'site-packages'}: two versions must not mix"):
        checkout.verify(other)
