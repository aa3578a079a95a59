"""An agent as one of many replicas: it works until it is told to end, and ends between two runs."""

import signal
import threading

import lastgood

ended = threading.Event()
# the first process of a container dies of SIGKILL alone, unless it says how it ends
signal.signal(signal.SIGTERM, lambda *_: ended.set())

number = 0
while not ended.wait(0.1):  # your queue goes here
    number += 1
    with lastgood.run(agent="support", task_type="faq") as run:
        run.input = {"question": f"question {number}"}
        model = run.bundle.model.data["default"]
        run.output = f"an answer of {model}"  # your model call goes here
        run.usage(model, tokens_in=900, tokens_out=120)
        run.report(validated=True, escalated=False)
    print(f"{run.id} on {run.bundle.short} as {run.arm}", flush=True)
print("told to end, and ended between two runs", flush=True)
