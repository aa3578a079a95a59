"""The named statements of profiles and notices, portable as those of `lastgood.store.statements`."""

PROFILE = "SELECT * FROM agent_profile WHERE agent = :agent"
PROFILES = "SELECT * FROM agent_profile ORDER BY agent"
SET_PROFILE = """
INSERT INTO agent_profile (agent, body, digest, changed_us, actor)
VALUES (:agent, :body, :digest, :changed_us, :actor)
ON CONFLICT (agent) DO UPDATE SET body = excluded.body, digest = excluded.digest,
  changed_us = excluded.changed_us, actor = excluded.actor
"""

# -- notices
PUT_NOTICE = """
INSERT INTO notice (id, agent, environment, kind, level, key, title, text, at_us, state)
VALUES (:id, :agent, :environment, :kind, :level, :key, :title, :text, :at_us, :state)
ON CONFLICT (key) DO NOTHING
"""
NOTICE = "SELECT * FROM notice WHERE id = :id"
#: control points with notices that no route was found for yet
NEW_PLACES = "SELECT DISTINCT agent, environment FROM notice WHERE state = 'new'"
NEW_NOTICES = """
SELECT * FROM notice WHERE state = 'new' AND agent = :agent AND environment = :environment
ORDER BY seq LIMIT :most
"""
ROUTED = "UPDATE notice SET state = :state WHERE id = :id AND state = 'new'"
#: what nobody was told for want of a route is routed again
REROUTE = "UPDATE notice SET state = 'new' WHERE state = 'unrouted' AND agent = :agent AND at_us > :since_us"
NOTICES = """
SELECT * FROM notice WHERE :agent IN ('', agent)
ORDER BY seq DESC LIMIT :most
"""
COUNT_UNROUTED = """
SELECT count(*) AS n FROM notice WHERE state = 'unrouted' AND agent = :agent AND environment = :environment
"""

# -- deliveries
PUT_DELIVERY = """
INSERT INTO delivery (notice_id, route, transport, agent, environment, level, seq, state, attempts,
  next_try_us, expires_us, claimed_by, claimed_until_us, error)
VALUES (:notice_id, :route, :transport, :agent, :environment, :level, :seq, 'waiting', 0,
  :next_try_us, :expires_us, '', 0, '')
ON CONFLICT (notice_id, route) DO NOTHING
"""
_FREE = """
(delivery.state = 'waiting' AND delivery.next_try_us <= :now_us
  OR delivery.state = 'sending' AND delivery.claimed_until_us <= :now_us)
"""
#: pages first, and of each route, control point and level the oldest alone: what comes after it waits
DUE_DELIVERIES = f"""
SELECT delivery.*, notice.kind, notice.key, notice.title, notice.text, notice.at_us FROM delivery
JOIN notice ON notice.id = delivery.notice_id
WHERE delivery.transport IN (:among) AND {_FREE} AND NOT EXISTS (SELECT 1 FROM delivery AS older
  WHERE older.route = delivery.route AND older.agent = delivery.agent
    AND older.environment = delivery.environment AND older.level = delivery.level
    AND older.seq < delivery.seq AND older.state IN ('waiting', 'sending'))
ORDER BY CASE delivery.level WHEN 'page' THEN 0 ELSE 1 END, delivery.seq LIMIT :most
"""  # noqa: S608  our own names
ANY_DUE = f"SELECT 1 FROM delivery WHERE {_FREE} LIMIT 1"  # noqa: S608  our own names
CLAIM_DELIVERY = f"""
UPDATE delivery SET state = 'sending', claimed_by = :claimed_by, claimed_until_us = :claimed_until_us,
  attempts = attempts + 1
WHERE notice_id = :notice_id AND route = :route AND {_FREE}
"""  # noqa: S608  our own names
_MINE = "notice_id = :notice_id AND route = :route AND state = 'sending' AND claimed_by = :claimed_by"
END_DELIVERY = f"""
UPDATE delivery SET state = :state, ended_us = :now_us, error = :error WHERE {_MINE}
"""  # noqa: S608  our own names
POSTPONE_DELIVERY = f"""
UPDATE delivery SET state = 'waiting', next_try_us = :next_try_us, error = :error WHERE {_MINE}
"""  # noqa: S608  our own names
#: nobody who can send it came in time, be it for the first try or, after that, for the next
_EXPIRED = """
expires_us <= :now_us AND (state = 'waiting' OR state = 'sending' AND claimed_until_us <= :now_us)
"""
EXPIRE_DELIVERIES = f"""
UPDATE delivery SET state = 'dead', ended_us = :now_us, error = :error
WHERE transport = :transport AND {_EXPIRED}
"""  # noqa: S608  our own names
EXPIRED_TRANSPORTS = f"SELECT DISTINCT transport FROM delivery WHERE {_EXPIRED}"  # noqa: S608  our own names
RETRY_DELIVERY = """
UPDATE delivery SET state = 'waiting', next_try_us = :now_us, expires_us = :expires_us, ended_us = NULL
WHERE notice_id = :notice_id AND state = 'dead'
"""
DELIVERIES_AMONG = "SELECT * FROM delivery WHERE notice_id IN (:among) ORDER BY seq, route"
DEAD_NOTICES = """
SELECT DISTINCT notice_id FROM delivery WHERE state = 'dead' AND :agent IN ('', agent)
"""
COUNT_DELIVERIES = """
SELECT state, count(*) AS n FROM delivery WHERE agent = :agent AND environment = :environment
  AND state IN ('waiting', 'sending', 'dead') GROUP BY state ORDER BY state
"""
