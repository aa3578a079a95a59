"""The named statements of the audit, portable as those of `lastgood.store.statements`."""

#: every look of a release with what it said
LOOKS_SAID = "SELECT seq, at_us, verdict FROM look WHERE release_id = :release_id ORDER BY seq"
#: answers of people about a release
ANSWERS = """
SELECT * FROM approval WHERE release_id = :release_id AND decided_us IS NOT NULL AND decision <> 'void'
ORDER BY number
"""
