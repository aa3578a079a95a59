"""The named statements of access tokens; a contract test holds each to the schema."""

BY_ID = "SELECT * FROM access_token WHERE id = :id"
ALL = "SELECT * FROM access_token ORDER BY created_us, id"
END = "UPDATE access_token SET expires_us = :at_us WHERE id = :id AND expires_us > :at_us"
#: one that ends sooner by itself is replaced all the same
REPLACE = """
UPDATE access_token SET replaced_by = :replaced_by,
  expires_us = CASE WHEN expires_us > :at_us THEN :at_us ELSE expires_us END
WHERE id = :id
"""
