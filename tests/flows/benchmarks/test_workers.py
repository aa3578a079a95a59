"""prefect.yaml for real: a worker whose runs clone a branch, with Prefect and the store on Postgres."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.benchmark, pytest.mark.prefect]
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent


def wait_for(what, seconds=600):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if found := what():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(1)
    return None


def test_a_release_is_promoted_by_a_worker_on_postgres(
    tmp_path, clean_environment, background, start_postgres
):
    import psycopg

    with start_postgres() as postgres:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for name in ("prefect", "store"):
                connection.execute(f"CREATE DATABASE {name}")
        base = postgres.url.rpartition("/")[0]
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}/api"
        environment = clean_environment | {
            "LASTGOOD_DATABASE": f"{base}/store",
            "LASTGOOD_REPOSITORY": f"file://{ROOT}",
            "LASTGOOD_BRANCH": git("rev-parse", "--abbrev-ref", "HEAD"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PREFECT_API_DATABASE_CONNECTION_URL": base.replace("postgresql:", "postgresql+asyncpg:")
            + "/prefect",
            "PREFECT_API_URL": url,
            "PREFECT_HOME": str(tmp_path / "prefect"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

        def run(line, folder=tmp_path):
            made = subprocess.run(
                ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert made.returncode == 0, f"{line}\n{made.stdout}{made.stderr}"
            return made.stdout

        server = ["prefect", "server", "start", "--port", str(port)]
        with background(server, tmp_path / "server.log", environment), httpx.Client(base_url=url) as api:
            run("lastgood init support")
            baseline = re.search(r"b-\w+", run("lastgood bundle add bundle.yaml"))[0]
            run(f"lastgood adopt support {baseline} && lastgood policy add policy.yaml")
            run("python agent_example.py 1200")
            assert wait_for(lambda: api.get("/health").is_success), (tmp_path / "server.log").read_text()
            run("prefect work-pool create lastgood --type process", ROOT)
            run("prefect --no-prompt deploy --all", ROOT)
            assert "heartbeat lost" in run("python -m flows install", ROOT)
            run("echo 'Be brief.' >> prompt.md")
            better = re.search(r"b-\w+ \S+", run("lastgood bundle add bundle.yaml"))[0]
            run("python -m flows install", ROOT)
            worker = ["prefect", "worker", "start", "--pool", "lastgood"]
            agent = ["bash", "-c", f"cd {tmp_path} && exec python agent_example.py 200000"]
            with (
                background(worker, tmp_path / "worker.log", environment),
                background(agent, tmp_path / "agent.log", environment),
            ):
                given = f"-p agent=support -p 'candidate={better}' -p policy=support"
                run(f"prefect deployment run release/release {given}")
                said = lambda: run("lastgood release status support 2>&1 || true")  # noqa: E731
                ended = wait_for(lambda: said().startswith(("PROMOTED", "REVERTED")) and said())
                log = (tmp_path / "worker.log").read_text()
                assert ended, log[-3000:]
                assert ended.startswith("PROMOTED"), ended
                assert "Deployment step 'git_clone' completed successfully" in log
                scheduled = wait_for(
                    lambda: "for flow 'evaluate_canaries'" in (tmp_path / "worker.log").read_text()
                )
                assert scheduled


def git(*words):
    made = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return made.stdout.strip()
