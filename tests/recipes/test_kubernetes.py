"""The recipe for Kubernetes, followed over a cluster of processes: `tests.recipes.cluster`."""

import sys
from pathlib import Path

import pytest
import yaml

from lastgood.store.connection import Store
from tests.recipes import cluster, following

MANIFESTS = following.ROOT / "examples/kubernetes"
DATABASE = "postgresql://lastgood:PASSWORD@postgres.example.com/lastgood"
# half a minute of two cores: `make interop` follows it with the other pages
pytestmark = [
    pytest.mark.benchmark,
    pytest.mark.skipif(sys.platform != "linux", reason="other addresses than 127.0.0.1"),
]


@pytest.fixture
def followed(tmp_path, postgres):
    """The page, followed to its end; then all were told to end, agents first."""
    url = postgres.make()
    programs = cluster.stand_in(tmp_path)
    environment = following.reader({cluster.HOME: str(tmp_path)}, programs)
    found = {}

    def end_all():
        found["pods"] = cluster.Cluster(tmp_path).state["pods"]
        for name in ("support", "lastgood-pipeline", "lastgood-service"):
            for pod in found["pods"][name]:
                cluster.end(pod["pid"])

    swaps = {"PATH_OF_THIS_CHECKOUT": str(following.ROOT), DATABASE: url}
    after = {"kubectl create job prune-now": end_all}
    following.Followed(following.page("kubernetes"), tmp_path, environment, swaps, after).go()
    yield Store(url), found["pods"]
    postgres.drop(url)


@pytest.mark.prefect
def test_the_page_ends_with_every_replica_at_work_on_one_store(followed):
    store, pods = followed
    assert {name: len(found) for name, found in pods.items()} == {
        "lastgood-service": 2,
        "lastgood-pipeline": 1,
        "support": 5,
    }
    with store.reading() as txn:
        runs = txn.all(
            "SELECT run.id, outcome.completed FROM run LEFT JOIN outcome ON outcome.run_id = run.id"
        )
    store.close()
    assert len(runs) >= 5
    assert all(row["completed"] for row in runs), "an agent that was told to end left a run open"
    for pod in pods["support"]:
        said = Path(pod["log"]).read_text("utf-8")
        assert said.endswith("told to end, and ended between two runs\n")


# -- what a cluster of processes does not see


def containers():
    for path in sorted(MANIFESTS.glob("*.yaml")):
        for each in yaml.safe_load_all(path.read_text("utf-8")):
            spec = each.get("spec", {})
            spec = spec.get("jobTemplate", {}).get("spec", spec)
            for container in spec.get("template", {}).get("spec", {}).get("containers", ()):
                yield pytest.param(each, spec["template"]["spec"], container, id=each["metadata"]["name"])


@pytest.mark.parametrize(("_object", "pod", "container"), list(containers()))
def test_a_container_is_nobody_special(_object, pod, container):
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]


def test_no_manifest_is_left_out_of_the_kustomization():
    named = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text("utf-8"))["resources"]
    others = {"kustomization.yaml", "bundle.yaml"}
    assert sorted(named) == sorted(path.name for path in MANIFESTS.glob("*.yaml") if path.name not in others)


def test_the_container_file_copies_every_folder_of_the_pipeline():
    text = (MANIFESTS / "Containerfile").read_text("utf-8")
    copied = set(cluster.copied(text))
    assert copied >= {"lastgood", "evaluators", "config", "tasks", "flows"}
    assert [source for source in copied if not (following.ROOT / source).exists()] == []
