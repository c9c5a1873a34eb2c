"""The result publisher."""

from aaos.bootstrap import container
from workers.app import house_task


@house_task("publish_results")
def publish_results() -> int:
    """Announces what the outbox holds, and what comes while it is at it."""
    return container().publish()
