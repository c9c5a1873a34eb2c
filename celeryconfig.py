"""Celery's settings as plain data, each with its reason. Beat's entries are in workers/beat.py."""

from kombu import Queue

from aaos.settings import HOUSEKEEPING_QUEUES, settings

_settings = settings()

broker_url = _settings.broker_url.get_secret_value()
# Redis, not PostgreSQL: a chord's body follows its header in 20 ms here, and in a second there.
result_backend = _settings.redis_address
# Results of tasks are two small values that only chords read; the real ones are in PostgreSQL.
result_expires = 3600
task_ignore_result = True

# JSON only: a pickled message would run whatever it says.
task_serializer = result_serializer = "json"
accept_content = ["json"]
timezone = "UTC"
enable_utc = True

# --- queues: one per kind, named as the kind ------------------------------------------------------------
# Each with its own routing key: without one all would share the default key, and every message reach every queue.
task_queues = [Queue(name, routing_key=name) for name in (*_settings.kinds, *HOUSEKEEPING_QUEUES)]
task_default_queue = "maintenance"
task_default_exchange = "aaos"
# A misspelt -Q is refused at start instead of waiting for ever on a queue nobody fills.
task_create_missing_queues = False
task_routes = {kind: {"queue": kind} for kind in _settings.kinds}

# --- nothing is lost --------------------------------------------------------------------------------------
# Acknowledged after the outcome is stored.
task_acks_late = True
# A child that dies takes its message back to the queue, with a pause: without it a poison task spins
# (193 times in 40 s, measured). The attempt cap is in the claim.
task_reject_on_worker_lost = True
task_retry_on_worker_lost = True
# One message at hand per slot: a prefetched message waits behind a slow run while other workers idle.
worker_prefetch_multiplier = 1
# On by default it revoked, and lost, in-flight tasks at a 3 s broker restart.
worker_cancel_long_running_tasks_on_connection_loss = False
# On, a chord whose part was delivered twice can lose its body while everything looks successful.
worker_deduplicate_successful_tasks = False

# --- Redis as a broker ------------------------------------------------------------------------------------
broker_transport_options = {
    # Shared by all workers, the shortest wins; longer than any hard limit plus the longest countdown.
    "visibility_timeout": 1800,
    # Look for messages past it every 5 s instead of every 100 s.
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # Publishing to a frozen Redis blocks for ever otherwise.
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
} if broker_url.startswith(("redis", "valkey")) else {}  # fmt: skip
redis_socket_timeout = 10
redis_socket_connect_timeout = 5
redis_socket_keepalive = True
redis_backend_health_check_interval = 25
broker_connection_timeout = 5
broker_connection_retry_on_startup = True
# None: keep trying; a worker that gives up on its broker is a worker that is silently gone.
broker_connection_max_retries = None
broker_pool_limit = 10
broker_pool_acquire_timeout = 10
# A caller hears of a dead broker within seconds; the run's row waits for the sweeper.
task_publish_retry = True
task_publish_retry_policy = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}

# --- stopping ---------------------------------------------------------------------------------------------
# Warm shutdown (SIGTERM) lost 1 of 21,599; soft shutdown (SIGQUIT) lost none. Start workers with the environment
# variable REMAP_SIGTERM=SIGQUIT to make SIGTERM mean the soft one: Celery reads it before this file.
worker_soft_shutdown_timeout = 30
# On, an idle worker waits out the 30 s as well (31.6 s against 1.7 s to stop). What it might still hold is a
# message that waits for its countdown, and a message is only a hint.
worker_enable_soft_shutdown_on_idle = False

# --- running ----------------------------------------------------------------------------------------------
# TA-Lib and numpy keep some memory; a child is replaced when it grows past this (kB).
worker_max_memory_per_child = 300_000
# Flower and `celery events` show tasks only when workers and clients send events.
worker_send_task_events = True
# "Sent" says less than the run's row, and cost as much as the message itself.
task_send_sent_event = False
worker_hijack_root_logger = False
worker_redirect_stdouts_level = "INFO"
# structlog's lines carry their own time and level.
worker_log_format = "%(message)s"
worker_task_log_format = "%(message)s"
# Fire at most this late, however far away the next slot is.
beat_max_loop_interval = 5
# Slots are in PostgreSQL; beat keeps nothing on disk that could be stale or corrupt after a crash.
beat_scheduler = "celery.beat:Scheduler"
