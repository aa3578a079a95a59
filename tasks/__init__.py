"""The side effects of a release, one module a noun."""
