"""Queries that a client waits for: texts that SQL asks for, and texts and images that come through Celery."""
