"""DBOS: workflows on a queue kept in PostgreSQL. Run by the peers' own Python: dbos_app.py worker|feed N.

The queue's limits come from BENCH_CONCURRENCY (per process; 0: none) and BENCH_POLL_S, the database from
BENCH_DATABASE_URL. A workflow is recorded when enqueued, when started and when done, each in a commit of its own.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient

QUEUE = "bench"
URL = os.environ["BENCH_DATABASE_URL"]


@DBOS.workflow(name="noop")
def noop(number: int) -> int:
    return number


def worker() -> None:
    concurrency = int(os.environ["BENCH_CONCURRENCY"]) or None
    DBOS(
        config={
            "name": "bench",
            "system_database_url": URL,
            "executor_id": os.environ["BENCH_EXECUTOR"],
            "application_version": "1",
            "log_level": "WARNING",
        }
    )
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=concurrency,
        polling_interval_sec=float(os.environ["BENCH_POLL_S"]),
        on_conflict="always_update",
    )
    print("peer ready.", flush=True)
    threading.Event().wait()


def feed(count: int) -> None:
    client = DBOSClient(system_database_url=URL)
    options = {"queue_name": QUEUE, "workflow_name": "noop", "app_version": "1"}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: client.enqueue(options, number) and None, range(count)))
    client.destroy()


if __name__ == "__main__":
    worker() if sys.argv[1] == "worker" else feed(int(sys.argv[2]))
