"""The named statements of profiles and notices, portable as those of `lastgood.store.statements`."""

PROFILE = "SELECT * FROM agent_profile WHERE agent = :agent"
PROFILES = "SELECT * FROM agent_profile ORDER BY agent"
SET_PROFILE = """
INSERT INTO agent_profile (agent, body, digest, changed_us, actor)
VALUES (:agent, :body, :digest, :changed_us, :actor)
ON CONFLICT (agent) DO UPDATE SET body = excluded.body, digest = excluded.digest,
  changed_us = excluded.changed_us, actor = excluded.actor
"""
