"""A graph whose tool asks a person from inside, as LangGraph's ToolNode runs it. Run by `recipes.py`.

Arguments: `begin`, or `answer` and a run's id.
"""

import sys

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, interrupt

import lastgood

CALL = {"name": "refund", "args": {"order": "order-99", "usd": 3.0}, "id": "call-1"}


def graph(run, saver):
    """A model that calls one tool, which asks first."""

    @run.tool
    def refund(order: str, usd: float) -> str:
        """Refund an order."""
        return f"refunded {order}" if interrupt({"refund": usd}) else "a person said no"

    def model(_state):
        return {"messages": [AIMessage("", tool_calls=[CALL])]}

    made = StateGraph(MessagesState)
    made.add_node("model", model)
    made.add_node("tools", ToolNode([tool(refund)]))
    return made.add_edge(START, "model").add_edge("model", "tools").compile(saver)


def work(pending, given):
    """Work until it ends or waits, and say which."""
    with SqliteSaver.from_conn_string("asking.db") as saver, pending as run:
        state = graph(run, saver).invoke(given, {"configurable": {"thread_id": run.id}})
        if "__interrupt__" in state:
            run.suspend()
        print(run.id if "__interrupt__" in state else state["messages"][-1].content)


if sys.argv[1] == "begin":
    work(lastgood.run("refunds"), {"messages": []})
else:
    work(lastgood.resume(sys.argv[2]), Command(resume=True))
