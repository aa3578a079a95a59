import pytest

from lastgood.errors import Forbidden
from lastgood.roles import ALLOWED, Act, Principal, Role

#: RELIABILITY.md section 3, cell by cell: what is not named is refused
MAY = {
    Role.OBSERVER: "read evaluate",
    Role.OPERATOR: "read evaluate revert",
    Role.RELEASER: "read evaluate revert resume start",
    Role.APPROVER: "read evaluate revert resume approve promote",
    Role.AGENT: "evaluate record",
    Role.AUDITOR: "read audit",
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("act", Act)
def test_every_cell_of_role_and_act(role, act):
    principal = Principal("ann", role)
    assert principal.may(act, "support", "production") is (act in MAY[role].split())
    if act in MAY[role].split():
        principal.check(act, "support", "production")
    else:
        with pytest.raises(Forbidden, match=f"ann is {role}: to {act} support takes a token of"):
            principal.check(act, "support", "production")


def test_a_revert_needs_least_and_a_promotion_most():
    can = {act: {role for role in Role if act in ALLOWED[role]} for act in Act}
    assert can[Act.START] | can[Act.PROMOTE] < can[Act.REVERT]
    assert can[Act.PROMOTE] == {Role.APPROVER}


@pytest.mark.parametrize(
    ("agents", "environments", "reaches"),
    [
        ({"*"}, {"*"}, True),
        ({"support"}, {"*"}, True),
        ({"coder"}, {"*"}, False),
        ({"*"}, {"staging"}, False),
        ({"support", "coder"}, {"staging", "production"}, True),
    ],
)
def test_a_scope_is_of_agents_and_environments(agents, environments, reaches):
    principal = Principal("ann", Role.OPERATOR, frozenset(agents), frozenset(environments))
    assert principal.reaches("support", "production") is reaches
    if not reaches:
        with pytest.raises(Forbidden, match="does not reach support in production"):
            principal.check(Act.REVERT, "support", "production")
