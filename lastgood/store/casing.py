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
  review = :review, reviewer = :reviewer, review_note = :review_note, reviewed_us = :reviewed_us
WHERE id = :id
"""
REVIEW_CASE = """
UPDATE regression_case SET review = :review, reviewer = :reviewer, review_note = :review_note,
  reviewed_us = :now_us
WHERE id = :id AND digest = :digest
"""
