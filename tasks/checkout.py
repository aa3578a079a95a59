"""One checkout, one version: the pipeline refuses to run beside another copy of `lastgood`."""

from pathlib import Path

import lastgood
from lastgood.errors import SchemaMismatch


def verify(package: Path | None = None) -> None:
    """Raise `SchemaMismatch` unless the imported `lastgood` is the one of this checkout.

    `package` is where `lastgood` was imported from; an older installed copy can come first on sys.path.
    """
    root = Path(__file__).resolve().parents[1]
    found = (package or Path(lastgood.__file__)).resolve().parents[1]
    if found != root:
        msg = (
            f"the pipeline of {root} imports lastgood {lastgood.__version__} from {found}: two versions "
            "must not mix; uninstall that one, or run inside the checkout's .venv (`make setup`)"
        )
        raise SchemaMismatch(msg)
