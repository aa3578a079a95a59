"""The named statements of approvals and cool-downs, portable as those of `lastgood.store.statements`."""

NEWEST_APPROVAL = """
SELECT * FROM approval WHERE release_id = :release_id ORDER BY number DESC LIMIT 1
"""
#: a question that is not the newest any more can't be answered
VOID_APPROVALS = """
UPDATE approval SET decision = 'void', decided_us = :now_us WHERE release_id = :release_id AND decision = ''
"""
DECIDE_APPROVAL = """
UPDATE approval SET decision = :decision, who = :who, level = :level, reason = :reason, decided_us = :now_us
WHERE id = :id AND decision = '' AND expires_us > :now_us
"""
#: a one-time code counts once, for its release and person
USE_CODE = """
UPDATE approval_code SET used_us = :now_us
WHERE code_hash = :code_hash AND release_id = :release_id AND person = :person AND used_us IS NULL
  AND expires_us > :now_us
"""
COOLDOWN = """
SELECT * FROM cooldown WHERE agent = :agent AND environment = :environment AND until_us > :now_us
"""
SET_COOLDOWN = """
INSERT INTO cooldown (agent, environment, until_us, reason, release_id)
VALUES (:agent, :environment, :until_us, :reason, :release_id)
ON CONFLICT (agent, environment) DO UPDATE SET reason = excluded.reason, release_id = excluded.release_id,
  until_us = CASE WHEN cooldown.until_us > excluded.until_us THEN cooldown.until_us ELSE excluded.until_us END
"""
END_COOLDOWN = (
    "DELETE FROM cooldown WHERE agent = :agent AND environment = :environment AND until_us > :now_us"
)
