"""The named statements of regression cases, portable as those of `lastgood.store.statements`."""

CASE = "SELECT * FROM regression_case WHERE id = :id"
CASE_BY_NAME = """
SELECT * FROM regression_case WHERE agent = :agent AND environment = :environment AND name = :name
"""
CASES_BY_NAME = "SELECT * FROM regression_case WHERE name = :name ORDER BY agent, environment LIMIT 2"
CASES = """
SELECT * FROM regression_case WHERE (:agent = '' OR agent = :agent)
  AND (:environment = '' OR environment = :environment) AND (:incident_id = '' OR incident_id = :incident_id)
  AND (:state = '' OR state = :state) ORDER BY agent, environment, created_us, id
"""
#: what a new proof, or an edit, changes; an edited case is reviewed anew
SET_CASE = """
UPDATE regression_case SET body = :body, digest = :digest, state = :state, reason = :reason, proof = :proof,
  incident_id = coalesce(:incident_id, incident_id), run_id = :run_id, signature = :signature, bad = :bad,
  good = :good, review = :review, reviewer = :reviewer, review_note = :review_note, reviewed_us = :reviewed_us
WHERE id = :id
"""
REVIEW_CASE = """
UPDATE regression_case SET review = :review, reviewer = :reviewer, review_note = :review_note,
  reviewed_us = :now_us
WHERE id = :id AND digest = :digest
"""

# -- suites that are spread over workers
SET_PART = """
INSERT INTO suite_part (suite_id, part, report, at_us) VALUES (:suite_id, :part, :report, :at_us)
ON CONFLICT (suite_id, part) DO UPDATE SET report = excluded.report, at_us = excluded.at_us
"""
PARTS = "SELECT part, report FROM suite_part WHERE suite_id = :suite_id ORDER BY part"
DROP_PARTS = "DELETE FROM suite_part WHERE suite_id = :suite_id"
