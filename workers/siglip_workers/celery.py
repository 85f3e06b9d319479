"""The Celery app, under the name that makes `celery -A siglip_workers worker` work.

Importing it reads nothing: the environment is read when Celery first asks for its configuration.
"""

from __future__ import annotations

from celery import Celery

from siglip_workers import signals
from siglip_workers.runtime import celery_configuration

app = Celery(
    "siglip_workers",
    include=["siglip_workers.tasks"],
    task_cls="siglip_workers.requests:ForgivingTask",
    set_as_current=False,
)
app.add_defaults(celery_configuration)
signals.connect()
