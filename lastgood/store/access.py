"""The named statements of access tokens; a contract test holds each to the schema."""

BY_ID = "SELECT * FROM access_token WHERE id = :id"
ALL = "SELECT * FROM access_token ORDER BY created_us, id"
END = """
UPDATE access_token SET expires_us = :at_us, replaced_by = COALESCE(:replaced_by, replaced_by)
WHERE id = :id AND expires_us > :at_us
"""
