"""The Celery app, under the name that makes `celery -A siglip_workers worker` work.

Importing it reads no settings: the environment is read when Celery first asks for its configuration.
"""

from __future__ import annotations

import os

from celery import Celery

from siglip_workers import signals
from siglip_workers.runtime import celery_configuration

# Decoding and the encoder share the cores. OpenMP's threads that wait for each other must not keep a core busy for
# long, as is their default, nor sleep at once, since most waits are short. OpenMP reads this when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

app = Celery(
    "siglip_workers",
    include=["siglip_workers.tasks"],
    task_cls="siglip_workers.requests:ForgivingTask",
    set_as_current=False,
)
app.add_defaults(celery_configuration)
signals.connect()
