"""The Celery side of aaos: `celery -A workers worker -Q <queue>`, `celery -A workers beat`, `… flower`."""

from workers.app import app

__all__ = ["app"]
