"""The CRM's tables."""

from typing import Final

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, amount_cents INTEGER NOT NULL, age_days INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS tickets (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'open', address TEXT,
    resolution TEXT
);
CREATE TABLE IF NOT EXISTS refunds (
    id TEXT PRIMARY KEY, order_id TEXT NOT NULL REFERENCES orders, amount_cents INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, ticket_id TEXT NOT NULL REFERENCES tickets, text TEXT NOT NULL,
    corrects TEXT, deliver_us INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS notes (
    id TEXT PRIMARY KEY, customer TEXT NOT NULL, topic TEXT NOT NULL, text TEXT NOT NULL
);
-- what each change wrote over, field by field, so that it can be taken back under later ones
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL, place TEXT NOT NULL, row TEXT NOT NULL, field TEXT NOT NULL,
    before TEXT, after TEXT, undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS changes_by_key ON changes (key);
CREATE INDEX IF NOT EXISTS changes_by_row ON changes (place, row, field);
-- answers by idempotency key: a request that comes again is answered and has no effect
CREATE TABLE IF NOT EXISTS answered (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL
);
"""
#: what a customer or an auditor sees of each table, and how its rows are ordered
SHOWN: Final = {
    "orders": "SELECT id, customer, amount_cents, age_days FROM orders ORDER BY id",
    "tickets": "SELECT id, customer, status, address, resolution FROM tickets ORDER BY id",
    "refunds": "SELECT id, order_id, amount_cents FROM refunds ORDER BY id",
    "messages": "SELECT id, ticket_id, text, corrects FROM messages ORDER BY id",
    "notes": "SELECT id, customer, topic, text FROM notes ORDER BY id",
}
