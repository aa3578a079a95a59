"""`python -m flows install`, for who runs workers, at a server that nothing was deployed to."""

import pytest

pytestmark = [pytest.mark.prefect, pytest.mark.usefixtures("harness")]


def test_installing_before_anything_is_deployed_says_to_deploy_first(place, capsys):
    from prefect.client.orchestration import get_client

    from tasks import serving

    with pytest.raises(SystemExit) as ended:
        serving.main((), ["install"])
    assert ended.value.code == 1
    assert "has no deployment of this pipeline; deploy them first" in capsys.readouterr().err
    with get_client(sync_client=True) as client:
        assert client.read_automations_by_name("lastgood: heartbeat lost") == []
