"""Planning from Prefect: the answer of `lastgood plan` as an artifact."""

from prefect.artifacts import create_markdown_artifact

from lastgood import agent
from lastgood.redaction import clean
from tasks import naming, planned, preflight
from tasks.commands.plan import answer


def plan(agent_name: str, policy: str, environment: str) -> str:
    """Leave the whole answer as an artifact; return its first line that decides."""
    naming.tag(agent_name, environment)
    store = agent.store()
    with store.reading() as txn:
        found = preflight.find_policy(txn, policy)
    told = answer(planned.from_agent(store, agent_name, environment, found, None))
    lines = list(told.lines())
    headline = next((line for line in lines if line.startswith("Promotion:")), lines[0])
    if told.plan.problems:
        headline = f"{found.name} can't decide a release of {agent_name}: {told.plan.problems[0]}"
    text = f"# {agent_name} in {environment} under policy {found.name}\n\n**{headline}**\n\n"
    block = "\n".join(lines).replace("```", "'''")
    key = f"plan-{agent_name}-{environment}".lower().replace("_", "-").replace(".", "-")
    create_markdown_artifact(key=key, markdown=clean(f"{text}```\n{block}\n```\n"), description=headline)
    return headline


__all__ = ["plan"]
