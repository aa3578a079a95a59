import copy
import json
import pickle

import pytest

from lastgood.errors import Refused
from lastgood.frozen import FrozenDict, FrozenList, freeze

VALUE = {"tools": [{"name": "search"}], "limit": 3}

DICT_CHANGES = {
    "set": lambda d: d.__setitem__("x", 1),
    "delete": lambda d: d.__delitem__("limit"),
    "or": lambda d: d.__ior__({"x": 1}),
    "update": lambda d: d.update(x=1),
    "setdefault": lambda d: d.setdefault("x", 1),
    "pop": lambda d: d.pop("limit"),
    "popitem": lambda d: d.popitem(),
    "clear": lambda d: d.clear(),
}
LIST_CHANGES = {
    "set": lambda x: x.__setitem__(0, 1),
    "delete": lambda x: x.__delitem__(0),
    "add": lambda x: x.__iadd__([1]),
    "multiply": lambda x: x.__imul__(2),
    "append": lambda x: x.append(1),
    "extend": lambda x: x.extend([1]),
    "insert": lambda x: x.insert(0, 1),
    "remove": lambda x: x.remove(x[0]),
    "pop": lambda x: x.pop(),
    "clear": lambda x: x.clear(),
    "sort": lambda x: x.sort(),
    "reverse": lambda x: x.reverse(),
}


@pytest.mark.parametrize("change", DICT_CHANGES.values(), ids=DICT_CHANGES)
def test_a_frozen_map_refuses_every_change(change):
    frozen = freeze(VALUE)
    with pytest.raises(Refused, match=r"copy\.deepcopy"):
        change(frozen)
    assert frozen == VALUE


@pytest.mark.parametrize("change", LIST_CHANGES.values(), ids=LIST_CHANGES)
def test_a_frozen_list_refuses_every_change(change):
    frozen = freeze([3, 1, 2])
    with pytest.raises(Refused, match=r"copy\.deepcopy"):
        change(frozen)
    assert frozen == [3, 1, 2]


@pytest.mark.parametrize("kind", [dict, list])
def test_no_changing_method_of_python_is_forgotten(kind):
    changing = DICT_CHANGES if kind is dict else LIST_CHANGES
    reading = {"copy", "fromkeys", "get", "items", "keys", "values", "index", "count"}
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert public - reading <= set(changing)


def test_what_is_inside_is_frozen_too():
    frozen = freeze(VALUE)
    assert type(frozen["tools"]) is FrozenList
    assert type(frozen["tools"][0]) is FrozenDict


def test_json_takes_it_for_what_it_is():
    assert json.dumps(freeze(VALUE)) == json.dumps(VALUE)


def test_a_deep_copy_is_plain_and_may_be_changed():
    plain = copy.deepcopy(freeze(VALUE))
    plain["tools"][0]["name"] = "find"
    plain["tools"].append(1)
    assert plain == {"tools": [{"name": "find"}, 1], "limit": 3}


@pytest.mark.parametrize("value", [VALUE, [VALUE]])
def test_a_shallow_copy_is_plain_on_top(value):
    assert type(copy.copy(freeze(value))) is type(value)


def test_it_can_be_pickled():
    assert pickle.loads(pickle.dumps(freeze(VALUE))) == VALUE


def test_what_is_shared_stays_shared():
    value = ["x"]
    for _ in range(60):
        value = [value, value]
    frozen = freeze(value)
    assert frozen[0] is frozen[1]


def test_a_set_of_yaml_is_frozen():
    assert freeze([{"a", "b"}]) == [frozenset({"a", "b"})]
