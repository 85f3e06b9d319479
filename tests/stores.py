"""An S3 server on a free loopback port, for tests of object stores."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

REGION = "us-east-1"


class Bucket:
    """A bucket of its own on the tests' S3 server.

    Attributes:
        name: The bucket's.
        environment: What a process needs to reach it.
    """

    def __init__(self, client: Any, environment: dict[str, str]) -> None:
        self.name = f"photos-{uuid4().hex[:12]}"
        self.environment = environment
        self.client = client
        client.create_bucket(Bucket=self.name)

    def put(self, key: str, content: bytes) -> str:
        """Store an object; returns its address."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return f"s3://{self.name}/{key}"


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """Run moto's server, and yield the environment variables with which programs reach it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "a secret that is never shown",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
    finally:
        server.stop()


def make_bucket(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Make a bucket, and have this process reach it."""
    import boto3

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget_stores()
    return Bucket(boto3.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL"]), environment)


def forget_stores() -> None:
    """Make the next file system of a store a new one, which reads the environment again."""
    from fsspec import get_filesystem_class

    from siglip_ingest.sources import stores

    stores._make_store.cache_clear()
    get_filesystem_class("s3").clear_instance_cache()
    # What the lowest versions leave open complains when it is collected: here, and not in whichever test comes next.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _unraisable: None
    try:
        gc.collect()
    finally:
        sys.unraisablehook = hook
