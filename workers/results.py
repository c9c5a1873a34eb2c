"""The result publisher."""

from aaos.bootstrap import container
from workers.app import app


@app.task(name="publish_results")
def publish_results() -> int:
    """Announces what the outbox holds, and what comes while it is at it."""
    return container().publish()
