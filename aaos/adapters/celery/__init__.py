"""Messages through Celery."""
