"""F14: the referee changes in the middle of a release: mixed evidence is invalid, and promotes nothing."""

import json
import random

from evaluators.stages import Move


def bumped(seed):
    """Another digest on a random part of the judgements: from a moment on, in one arm, or on a single one."""
    draw = random.Random(seed)
    kind = ("from a moment on", "in one arm", "once")[seed % 3]

    def spoil(connection):
        query = (
            "SELECT late_report.seq, run.arm, fields FROM late_report JOIN run ON run.id = run_id ORDER BY 1"
        )
        rows = connection.execute(query).fetchall()
        since = draw.randrange(1, len(rows))
        for place, (seq, arm, fields) in enumerate(rows):
            changed = {
                "from a moment on": place >= since,
                "in one arm": arm == "candidate",
                "once": place == since,
            }
            if changed[kind]:
                told = json.loads(fields)
                told["judgement"]["digest"] = "b" * 64
                connection.execute("UPDATE late_report SET fields = ? WHERE seq = ?", (json.dumps(told), seq))

    return spoil


def test_mixed_referees_are_never_accepted(ready, tmp_path, cases, figure):
    moves = [ready.decided(tmp_path, bumped(seed)) for seed in range(max(cases, 3))]
    figure(f"F14: {len(moves)} cases, accepted {moves.count(Move.PROMOTE)}")
    assert set(moves) == {Move.HOLD}
