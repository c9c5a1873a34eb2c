"""The only place that builds adapters and hands them to services.

Each is imported where it is built: beat and Flower load this package, too, and need none of them.
"""

from aaos.bootstrap.adapters import PUBLISHER_FLAG
from aaos.bootstrap.process import PRELOADED, container, preload, reset
from aaos.bootstrap.services import Container

__all__ = ["PRELOADED", "PUBLISHER_FLAG", "Container", "container", "preload", "reset"]
