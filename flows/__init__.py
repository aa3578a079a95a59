"""Prefect flows: the stages of a release and their order, nothing else."""
