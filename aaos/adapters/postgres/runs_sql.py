"""The statements of the run store, named. Each is atomic, and every instant in them is the database's."""

from __future__ import annotations

from sqlalchemy import text

UNFINISHED_DEPENDENCY = """
    SELECT 1 FROM run_dependencies d JOIN runs needed ON needed.id = d.depends_on_id
    WHERE d.run_id = runs.id AND needed.state IN ('pending', 'running')
"""

INSERT_RUNS = text("""
    INSERT INTO runs (kind, symbol, slot, request_key, dependent, parked, timeout_s, start_within_s,
                      deadline, not_after, hinted_at, params)
    SELECT :kind, wanted.symbol, COALESCE(:slot, clock_timestamp()), wanted.request_key, :dependent,
           wanted.position > :hint_first AND NOT :dependent, :timeout_s, :start_within_s,
           LEAST(clock_timestamp() + make_interval(secs => :start_within_s), :not_after), :not_after,
           CASE WHEN wanted.position <= :hint_first THEN clock_timestamp() END, CAST(:params AS json)
    FROM unnest(CAST(:symbols AS text[]), CAST(:request_keys AS text[]))
         WITH ORDINALITY AS wanted(symbol, request_key, position)
    ON CONFLICT DO NOTHING
    RETURNING id, symbol, hinted_at IS NOT NULL AS hinted
""")

FIND_SLOT_RUNS = text("""
    SELECT id, symbol, state FROM runs
    WHERE kind = :kind AND slot = :slot AND symbol = ANY(:symbols) AND request_key IS NULL
""")

FIND_REQUESTED_RUNS = text("SELECT id, symbol, state FROM runs WHERE request_key = ANY(:request_keys)")

INSERT_DEPENDENCIES = text("""
    INSERT INTO run_dependencies (run_id, depends_on_id, required)
    SELECT run_id, depends_on_id, :required
    FROM unnest(CAST(:run_ids AS bigint[]), CAST(:depends_on_ids AS bigint[])) AS pair(run_id, depends_on_id)
""")

# What waits for a run gets the runs fed by it as further (not required) dependencies.
FEED_DEPENDENTS = text("""
    INSERT INTO run_dependencies (run_id, depends_on_id, required)
    SELECT waiting.run_id, fed.id, false
    FROM run_dependencies waiting, unnest(CAST(:fed_ids AS bigint[])) AS fed(id)
    WHERE waiting.depends_on_id = :run_id
""")

# All symbols of a slot; not required: how they end is no reason to do without the run that waits for them.
AWAIT_SLOT = text("""
    INSERT INTO run_dependencies (run_id, depends_on_id, required)
    SELECT :run_id, id, false FROM runs WHERE kind = :kind AND slot = :slot AND request_key IS NULL ORDER BY id
""")

IS_READY = text(f"SELECT NOT EXISTS ({UNFINISHED_DEPENDENCY}) FROM runs WHERE id = :id")

RECORD_MISSED = text("""
    INSERT INTO runs (kind, symbol, slot, state, timeout_s, start_within_s, deadline, reason, finished_at)
    SELECT :kind, missed.symbol, missed.slot, 'skipped', 1, 1, missed.slot, :reason, clock_timestamp()
    FROM unnest(CAST(:symbols AS text[])) AS s(symbol), unnest(CAST(:slots AS timestamptz[])) AS t(slot),
         LATERAL (SELECT s.symbol, t.slot) AS missed
    ON CONFLICT DO NOTHING
""")

NEWEST_SLOT = text("SELECT max(slot) FROM runs WHERE kind = :kind AND request_key IS NULL")

CLAIM = text(f"""
    UPDATE runs SET
        state = 'running', parked = false, owner = :owner, attempt = attempt + 1, fence = nextval('run_fence'),
        started_at = clock_timestamp(),
        deadline = CASE WHEN dependent THEN deadline
                        ELSE LEAST(clock_timestamp() + make_interval(secs => timeout_s), not_after) END,
        lease_expires_at = LEAST(
            clock_timestamp() + make_interval(secs => :lease_s), not_after,
            CASE WHEN dependent THEN deadline ELSE clock_timestamp() + make_interval(secs => timeout_s) END)
    WHERE id = :id
      AND ((state = 'pending' AND due_at <= clock_timestamp())
           OR (state = 'running' AND lease_expires_at < clock_timestamp()))
      AND deadline > clock_timestamp()
      AND attempt < :max_attempts
      AND (NOT dependent OR NOT EXISTS ({UNFINISHED_DEPENDENCY}))
      AND kind_has_room(id, kind, :max_concurrent, :max_overall)
    RETURNING id, kind, symbol, slot, attempt, fence, deadline, dependent, request_key IS NULL AS scheduled,
              params, created_at, EXTRACT(EPOCH FROM deadline - clock_timestamp())::float8 AS time_left_s
""")

WHY_REFUSED = text(f"""
    SELECT state, due_at > clock_timestamp() AS not_due, attempt >= :max_attempts AS exhausted,
           lease_expires_at >= clock_timestamp() AS leased, deadline <= clock_timestamp() AS expired,
           dependent AND EXISTS ({UNFINISHED_DEPENDENCY}) AS waiting
    FROM runs WHERE id = :id
""")

PARK = text("UPDATE runs SET parked = true WHERE id = :id AND state = 'pending'")

RENEW = text("""
    UPDATE runs SET lease_expires_at = LEAST(clock_timestamp() + make_interval(secs => :lease_s), deadline)
    FROM unnest(CAST(:ids AS bigint[]), CAST(:fences AS bigint[])) AS held(id, fence)
    WHERE runs.id = held.id AND runs.fence = held.fence AND runs.state = 'running'
      AND runs.deadline > clock_timestamp()
    RETURNING runs.id
""")

DEPENDENCIES = text("""
    SELECT needed.id, needed.kind, needed.symbol, d.required, needed.state, needed.reason,
           needed.params, r.id AS result_id, r.analyzed_at, r.content_hash, r.body
    FROM run_dependencies d
    JOIN runs needed ON needed.id = d.depends_on_id
    LEFT JOIN results r ON r.run_id = needed.id
    WHERE d.run_id = :id
    ORDER BY needed.id
""")

OURS = "id = :id AND fence = :fence AND state = 'running' AND deadline > clock_timestamp()"

# One that was turned away for want of room may start now that there is some; its own kind first. One whose time is
# over would not be granted: the place would go to nobody until the next sweep.
PROMOTE = """
    UPDATE runs SET parked = false, hinted_at = clock_timestamp()
    WHERE EXISTS (SELECT 1 FROM done) AND id = COALESCE(
        (SELECT same.id FROM runs same
         WHERE same.state = 'pending' AND same.parked AND same.kind = :kind AND same.due_at <= clock_timestamp()
           AND same.deadline > clock_timestamp()
         ORDER BY same.slot, same.id LIMIT 1 FOR UPDATE SKIP LOCKED),
        (SELECT other.id FROM runs other
         WHERE other.state = 'pending' AND other.parked AND other.due_at <= clock_timestamp()
           AND other.deadline > clock_timestamp()
         ORDER BY other.kind, other.slot, other.id LIMIT 1 FOR UPDATE SKIP LOCKED))
    RETURNING id, kind
"""

COMPLETE = text(f"""
    WITH done AS (
        UPDATE runs SET state = 'completed', finished_at = clock_timestamp(), lease_expires_at = NULL
        WHERE {OURS}
        RETURNING id, kind, symbol, slot, fence, request_key IS NULL AS scheduled
    ), stored AS (
        INSERT INTO results (run_id, fence, kind, symbol, slot, scheduled, body, content_hash, inputs)
        SELECT id, fence, kind, symbol, slot, scheduled, CAST(:body AS json), :content_hash, CAST(:inputs AS json)
        FROM done
        RETURNING id
    ), announced AS (
        INSERT INTO outbox (result_id) SELECT id FROM stored WHERE :publish
    ), promoted AS ({PROMOTE})
    SELECT stored.id AS result_id, promoted.id AS promoted_id, promoted.kind AS promoted_kind
    FROM stored LEFT JOIN promoted ON true
""")

ALERT = text("""
    INSERT INTO alerts (kind, message, details)
    SELECT kind, message, CAST(details AS json)
    FROM unnest(CAST(:kinds AS text[]), CAST(:messages AS text[]), CAST(:details AS text[]))
         AS raised(kind, message, details)
""")

END = text(f"""
    WITH done AS (
        UPDATE runs SET state = :state, reason = :reason, failure_source = :failure_source,
                        finished_at = clock_timestamp(), lease_expires_at = NULL
        WHERE {OURS}
        RETURNING id
    ), promoted AS ({PROMOTE})
    SELECT done.id, promoted.id AS promoted_id, promoted.kind AS promoted_kind
    FROM done LEFT JOIN promoted ON true
""")

# Put back only if it will be due, and found by a sweep, before its time is over. One whose attempt did not count has
# no more time for having been put back.
RELEASE = text(f"""
    UPDATE runs SET state = 'pending', lease_expires_at = NULL, reason = :reason, parked = true, hinted_at = NULL,
        hints = 0, attempt = attempt - CASE WHEN :spent THEN 0 ELSE 1 END,
        due_at = clock_timestamp() + make_interval(secs => :delay_s),
        deadline = CASE WHEN dependent THEN deadline
                        WHEN :spent
                        THEN LEAST(clock_timestamp() + make_interval(secs => :delay_s + start_within_s), not_after)
                        ELSE COALESCE(not_after, created_at + make_interval(secs => start_within_s)) END
    WHERE {OURS}
      AND clock_timestamp() + make_interval(secs => :delay_s + :found_within_s) < CASE
          WHEN dependent THEN deadline
          WHEN :spent THEN COALESCE(not_after, 'infinity')
          ELSE COALESCE(not_after, created_at + make_interval(secs => start_within_s)) END
""")

STILL_OURS = text(f"SELECT 1 FROM runs WHERE {OURS}")

SETTLED = text("SELECT runs.state, runs.fence, r.id AS result_id FROM runs "
               "LEFT JOIN results r ON r.run_id = runs.id WHERE runs.id = :id")  # fmt: skip

# Deadlines first: a run past its own is over, whoever holds it.
TIME_OUT_RUNNING = text("""
    UPDATE runs SET state = 'failed', failure_source = 'timeout', finished_at = clock_timestamp(),
        lease_expires_at = NULL,
        reason = 'attempt ' || attempt || ' was not done after ' || timeout_s || ' s (owner ' || owner || ')'
    WHERE state = 'running' AND deadline <= clock_timestamp()
    RETURNING id, kind
""")

# Parked, so that it has its turn with the next run that ends, however many messages are queued before a new hint.
RECOVER_LEASES = text("""
    UPDATE runs SET
        state = CASE WHEN attempt >= :max_attempts THEN 'failed' ELSE 'pending' END,
        failure_source = CASE WHEN attempt >= :max_attempts THEN 'agent_crash' END,
        finished_at = CASE WHEN attempt >= :max_attempts THEN clock_timestamp() END,
        reason = 'worker ' || owner || ' fell silent in attempt ' || attempt,
        lease_expires_at = NULL, parked = attempt < :max_attempts, hinted_at = NULL, hints = 0,
        due_at = clock_timestamp(),
        deadline = CASE WHEN dependent THEN deadline
                        ELSE LEAST(clock_timestamp() + make_interval(secs => start_within_s), not_after) END
    WHERE state = 'running' AND lease_expires_at < clock_timestamp()
    RETURNING id, kind, state
""")

EXPIRE_PENDING = text("""
    UPDATE runs SET
        state = CASE WHEN dependent THEN 'failed' ELSE 'skipped' END,
        failure_source = CASE WHEN dependent THEN 'timeout' END,
        finished_at = clock_timestamp(),
        reason = CASE WHEN dependent THEN 'what it waits for was not done after ' || start_within_s || ' s'
                      ELSE 'missed: no worker took it within ' || start_within_s || ' s' END
                 || COALESCE('; before that: ' || reason, '')
    WHERE state = 'pending' AND deadline <= clock_timestamp()
    RETURNING id, kind, dependent
""")

# Who waits for this run; `ready` when nothing they wait for is unfinished.
DEPENDENTS = text(f"""
    SELECT runs.id, runs.kind, NOT EXISTS ({UNFINISHED_DEPENDENCY}) AS ready
    FROM run_dependencies waiting JOIN runs ON runs.id = waiting.run_id
    WHERE waiting.depends_on_id = :id AND runs.state = 'pending' ORDER BY runs.id
""")

# Two counts, since `state IN (…)` is covered by neither partial index: it would read every old run.
COUNT_ACTIVE = text("""
    SELECT (SELECT count(*) FROM runs WHERE kind = :kind AND state = 'pending') AS pending,
           (SELECT count(*) FROM runs WHERE kind = :kind AND state = 'running') AS running
""")

# Ready and due, but no message has led anywhere for a while: hint again, ever more rarely.
HINT_AGAIN = text("""
    UPDATE runs SET hinted_at = clock_timestamp(), parked = false, hints = LEAST(hints + 1, 30)
    WHERE id IN (
        SELECT waiting.id FROM runs waiting
        WHERE waiting.state = 'pending' AND waiting.kind = :kind AND waiting.due_at <= clock_timestamp()
          AND COALESCE(waiting.hinted_at, waiting.created_at) <= clock_timestamp()
              - make_interval(secs => LEAST(:hint_after_s * 2 ^ GREATEST(waiting.hints - 1, 0), :hint_backoff_max_s))
          AND (NOT waiting.dependent OR NOT EXISTS (
              SELECT 1 FROM run_dependencies d JOIN runs needed ON needed.id = d.depends_on_id
              WHERE d.run_id = waiting.id
                AND (needed.state IN ('pending', 'running')
                     OR needed.finished_at > clock_timestamp() - make_interval(secs => :hint_after_s))))
        ORDER BY waiting.slot, waiting.id
        LIMIT :room FOR UPDATE SKIP LOCKED)
    RETURNING id
""")

# What is overdue and found no room has its turn as others end, not with one of the next sweeps.
PARK_OVERDUE = text(f"""
    UPDATE runs SET parked = true
    WHERE state = 'pending' AND NOT parked AND kind = :kind AND due_at <= clock_timestamp()
      AND COALESCE(hinted_at, created_at) <= clock_timestamp() - make_interval(secs => :hint_after_s)
      AND (NOT dependent OR NOT EXISTS ({UNFINISHED_DEPENDENCY}))
""")

RUN_COLUMNS = """
    runs.id, runs.kind, runs.symbol, runs.slot, runs.state, runs.attempt, runs.reason, runs.failure_source,
    runs.owner, runs.request_key, runs.created_at, runs.started_at, runs.finished_at, runs.due_at
"""

ORPHANS = text(f"""
    SELECT {RUN_COLUMNS}, NULL AS result_id FROM runs
    WHERE state = 'running' AND lease_expires_at < clock_timestamp() ORDER BY id
""")

ABANDON_ORPHAN = text("""
    UPDATE runs SET state = 'skipped', reason = :reason, finished_at = clock_timestamp(), lease_expires_at = NULL
    WHERE id = :id AND state = 'running' AND lease_expires_at < clock_timestamp()
""")

ONE_RUN = text(f"""
    SELECT {RUN_COLUMNS}, r.id AS result_id FROM runs LEFT JOIN results r ON r.run_id = runs.id WHERE runs.id = :id
""")

NEWEST_RUNS = text(f"""
    SELECT {RUN_COLUMNS}, r.id AS result_id FROM runs LEFT JOIN results r ON r.run_id = runs.id
    WHERE (CAST(:kind AS text) IS NULL OR runs.kind = :kind)
      AND (CAST(:symbol AS text) IS NULL OR runs.symbol = :symbol)
      AND (CAST(:state AS text) IS NULL OR runs.state = :state)
    ORDER BY runs.id DESC LIMIT :limit
""")
