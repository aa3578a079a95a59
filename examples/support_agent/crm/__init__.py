"""A small CRM: orders, tickets, refunds, messages and memory notes, in an SQLite file behind HTTP.

It knows nothing of lastgood. A change carries an idempotency key, takes effect once, and can be undone by it.
"""
