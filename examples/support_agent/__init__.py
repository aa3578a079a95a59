"""A small customer-support agent without a language model, and with everything else real.

Five parts as files, retrieval over a folder of documents, tools over HTTP to a CRM with its own database,
validators, escalation, and an operator who reads what it answered. `python -m examples.support_agent --help`.
"""
