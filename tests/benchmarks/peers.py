"""Flag SDKs as a Python service would use them for a percentage split, evaluated locally.

Each function returns what decides whether a unit is in the share of one of `agents` flags. No SDK sends
exposures or touches the network: what is compared is the decision alone. Imported in the environment that
`run.py` makes from peers.txt.
"""

import json
import logging
from collections.abc import Callable

Decide = Callable[[str, str], object]


def statsig(agents: list[str], share_bp: int) -> Decide:
    """The core in Rust with its Python face."""
    from statsig_python_core import FeatureGateEvaluationOptions, Statsig, StatsigOptions, StatsigUser
    from statsig_python_core.data_store import DataStore, DataStoreResponse

    everybody = {
        "type": "public",
        "targetValue": None,
        "operator": None,
        "field": None,
        "additionalValues": {},
        "idType": "userID",
    }
    gates = {}
    for name in agents:
        rule = {
            "name": "rule",
            "id": "rule",
            "salt": name,
            "passPercentage": share_bp / 100,
            "conditions": ["all"],
            "returnValue": True,
            "idType": "userID",
        }
        gates[name] = {
            "type": "feature_gate",
            "entity": "feature_gate",
            "salt": name,
            "enabled": True,
            "defaultValue": False,
            "idType": "userID",
            "rules": [rule],
        }
    specs = {
        "has_updates": True,
        "time": 1_700_000_000_000,
        "feature_gates": gates,
        "dynamic_configs": {},
        "layer_configs": {},
        "experiment_to_layer": {},
        "condition_map": {"all": everybody},
        "layers": {},
        "id_lists": {},
    }

    class Local(DataStore):
        def get(self, key: str) -> DataStoreResponse:
            return DataStoreResponse(json.dumps(specs), 1_700_000_000_000)

    options = StatsigOptions(disable_network=True, disable_all_logging=True, data_store=Local())
    client = Statsig("secret-local", options)
    client.initialize().wait()
    silent = FeatureGateEvaluationOptions(disable_exposure_logging=True)
    check = client.check_gate

    def decide(agent: str, unit: str) -> object:
        return check(StatsigUser(user_id=unit), agent, silent)

    return decide


def growthbook(agents: list[str], share_bp: int) -> Decide:
    """GrowthBook, pure Python."""
    from growthbook import GrowthBook

    rule = {"force": True, "coverage": share_bp / 10_000, "hashAttribute": "id"}
    features = {name: {"defaultValue": False, "rules": [{**rule, "seed": name}]} for name in agents}
    client = GrowthBook(features=features)

    def decide(agent: str, unit: str) -> object:
        client.set_attributes({"id": unit})
        return client.is_on(agent)

    return decide


def openfeature(agents: list[str], share_bp: int) -> Decide:
    """OpenFeature with its in-memory provider, which leaves the split to a callback: a cheap one."""
    from hashlib import blake2b

    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.flag_evaluation import FlagResolutionDetails
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    def split(flag: InMemoryFlag, context: EvaluationContext) -> FlagResolutionDetails:
        digest = blake2b((context.targeting_key or "").encode(), digest_size=8).digest()
        on = int.from_bytes(digest, "big") * 10_000 >> 64 < share_bp
        return FlagResolutionDetails(flag.variants["on" if on else "off"], variant="on" if on else "off")

    flags = {
        name: InMemoryFlag("off", {"on": True, "off": False}, context_evaluator=split) for name in agents
    }
    api.set_provider(InMemoryProvider(flags))
    ask = api.get_client().get_boolean_value

    def decide(agent: str, unit: str) -> object:
        return ask(agent, False, EvaluationContext(targeting_key=unit))

    return decide


def launchdarkly(agents: list[str], share_bp: int) -> Decide:
    """LaunchDarkly's server SDK on test data, with a percentage rollout as its fallthrough."""
    from ldclient import Config, Context, LDClient
    from ldclient.integrations.test_data import TestData

    class Rollout:
        """A flag builder that `TestData` builds."""

        def __init__(self, key: str) -> None:
            self._key = key

        def _build(self, version: int) -> dict[str, object]:
            weights = [(0, share_bp * 10), (1, 100_000 - share_bp * 10)]
            rollout = {
                "variations": [{"variation": v, "weight": w} for v, w in weights],
                "contextKind": "user",
            }
            return {
                "key": self._key,
                "version": version,
                "on": True,
                "variations": [True, False],
                "salt": self._key,
                "fallthrough": {"rollout": rollout},
                "offVariation": 1,
                "prerequisites": [],
                "targets": [],
                "contextTargets": [],
                "rules": [],
            }

        def _copy(self) -> "Rollout":
            return self

    source = TestData.data_source()
    for name in agents:
        flag = source.flag(name)
        flag._build = Rollout(name)._build
        flag._copy = lambda flag=flag: flag
        source.update(flag)
    client = LDClient(
        Config("local", update_processor_class=source, send_events=False, diagnostic_opt_out=True)
    )
    variation, create = client.variation, Context.create

    def decide(agent: str, unit: str) -> object:
        return variation(agent, create(unit), False)

    return decide


def unleash(agents: list[str], share_bp: int) -> Decide:
    """Unleash's client with its features given at the start."""
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    def feature(name: str) -> dict[str, object]:
        parameters = {"rollout": str(share_bp // 100), "stickiness": "userId", "groupId": name}
        strategy = {"name": "flexibleRollout", "parameters": parameters, "constraints": []}
        return {"name": name, "type": "release", "enabled": True, "strategies": [strategy], "variants": []}

    cache = FileCache("lastgood-benchmark")
    cache.bootstrap_from_dict({"version": 2, "features": [feature(name) for name in agents]})
    client = UnleashClient(
        "http://127.0.0.1:9/api", "benchmark", cache=cache, disable_metrics=True, disable_registration=True
    )
    client.initialize_client(fetch_toggles=False)
    enabled = client.is_enabled

    def decide(agent: str, unit: str) -> object:
        return enabled(agent, {"userId": unit})

    return decide


#: how to build each, and whether it is pure Python
PEERS: dict[str, tuple[Callable[[list[str], int], Decide], bool]] = {
    "statsig-python-core": (statsig, False),
    "growthbook": (growthbook, True),
    "openfeature-sdk (in memory)": (openfeature, True),
    "launchdarkly-server-sdk": (launchdarkly, True),
    "UnleashClient": (unleash, False),
}


def quiet() -> None:
    """Keep the SDKs from talking about the network that they don't have."""
    logging.disable(logging.CRITICAL)
