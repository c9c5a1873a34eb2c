"""procrastinate: jobs in PostgreSQL. Run by the peers' own Python: procrastinate_app.py schema|worker|feed N.

Jobs at a time per process come from BENCH_CONCURRENCY, the database from BENCH_DATABASE_URL. LISTEN/NOTIFY is on
(its default); done jobs are kept, as aaos keeps its runs.
"""

import asyncio
import os
import sys

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_DATABASE_URL"], min_size=2, max_size=16))


@app.task(name="noop", queue="bench")
async def noop(number: int) -> None:
    """Does nothing."""


async def schema() -> None:
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def worker() -> None:
    async with app.open_async():
        print("peer ready.", flush=True)
        await app.run_worker_async(
            queues=["bench"], concurrency=int(os.environ["BENCH_CONCURRENCY"]), install_signal_handlers=False
        )


async def feed(count: int) -> None:
    async with app.open_async():
        await noop.batch_defer_async(*({"number": number} for number in range(count)))


if __name__ == "__main__":
    verb = sys.argv[1]
    asyncio.run(feed(int(sys.argv[2])) if verb == "feed" else {"schema": schema, "worker": worker}[verb]())
