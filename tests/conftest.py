"""What every test runs under: none of the developer's own settings, and Hypothesis without deadlines."""

import os

from hypothesis import settings

# A test must never reach the store or the Prefect server that a developer's shell points to.
for name in [name for name in os.environ if name.startswith(("LASTGOOD_", "PREFECT_"))]:
    del os.environ[name]
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")
