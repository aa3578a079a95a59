"""The demo's agent: recorded outcomes of real coding agents, served through the public API."""
