"""Release policies and settings: pydantic models over YAML and environment variables."""
