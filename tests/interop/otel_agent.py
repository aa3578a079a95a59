"""An agent that knows OpenTelemetry and pydantic-evals, and nothing of us. Run by `telemetry.py`.

Arguments: URL, access token, and the ids of the bundles that two runs are attributed to.
"""

import asyncio
import sys
from dataclasses import dataclass

from opentelemetry import baggage, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, detach
from opentelemetry.exporter.otlp.json.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
from opentelemetry.processor.baggage import ALLOW_ALL_BAGGAGE_KEYS, BaggageSpanProcessor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_evals.evaluators import Evaluator, EvaluatorContext
from pydantic_evals.online import evaluate

URL, TOKEN, *BUNDLES = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
RESOURCE = Resource.create({"service.name": "support", "deployment.environment.name": "production"})

spans = TracerProvider(resource=RESOURCE)
spans.add_span_processor(BaggageSpanProcessor(ALLOW_ALL_BAGGAGE_KEYS))
spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{URL}/v1/traces", headers=HEADERS)))
trace.set_tracer_provider(spans)
logs = LoggerProvider(resource=RESOURCE)
logs.add_log_record_processor(
    BatchLogRecordProcessor(OTLPLogExporter(endpoint=f"{URL}/v1/logs", headers=HEADERS))
)
set_logger_provider(logs)
tracer = trace.get_tracer("agent")


@dataclass
class Polite(Evaluator):
    """Whether an answer thanks."""

    def evaluate(self, ctx: EvaluatorContext) -> bool:
        return "thanks" in str(ctx.output)


@evaluate(Polite())
async def answer(question: str) -> str:
    """Answer a question, with a model call, a tool call and a memory write."""
    with tracer.start_as_current_span("chat small") as span:
        span.set_attributes({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "small",
            "gen_ai.response.model": "small-0519", "gen_ai.usage.input_tokens": 1_000,
            "gen_ai.usage.output_tokens": 500,
        })  # fmt: skip
    with tracer.start_as_current_span("execute_tool send") as span:
        span.set_attributes({
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "send",
            "gen_ai.tool.call.id": "call-1", "gen_ai.tool.call.arguments": '{"to": "c-17"}',
        })  # fmt: skip
    with tracer.start_as_current_span("upsert_memory") as span:
        span.set_attribute("gen_ai.memory.record.id", f"note of {question}")
    return f"{question}: thanks"


async def run(bundle: str, number: int) -> None:
    """One run of the agent; its bundle came with the request, as W3C baggage."""
    context = W3CBaggagePropagator().extract({"baggage": f"lastgood.bundle={bundle}"})
    assert baggage.get_baggage("lastgood.bundle", context) == bundle
    token = attach(context)
    try:
        with tracer.start_as_current_span("invoke_agent support") as span:
            span.set_attributes({
                "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support",
                "gen_ai.conversation.id": f"c-{number}",
            })  # fmt: skip
            await answer(f"question {number}")
            await asyncio.sleep(0.5)  # the evaluator runs beside it
    finally:
        detach(token)


async def main() -> None:
    """A few runs on each bundle."""
    for number in range(4):
        await run(BUNDLES[number % 2], number)


asyncio.run(main())
assert "lastgood" not in sys.modules
spans.shutdown()
logs.shutdown()
