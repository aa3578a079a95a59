"""Commands of `lastgood` that need the pipeline; none of them imports Prefect."""
