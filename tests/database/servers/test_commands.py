"""`siglip-ingest servers`, run as a program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.database.servers.helpers import Cluster


def test_the_commands_add_move_list_and_remove(cluster: Cluster, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    environment |= {"SIGLIP_DATABASE_URL": cluster.url, "SIGLIP_HOME": str(tmp_path)}

    def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [Path(sys.executable).with_name("siglip-ingest"), "servers", *words]
        return subprocess.run(
            command, env=environment, input=stdin, capture_output=True, text=True, timeout=120, check=False
        )

    with cluster.connect() as session:
        segment = session.fill(30, 1)[0]
        assert run("list").stdout == "All segments are on the database's own server.\n"
        refused = run("add", "s1", "postgresql://h/s3cret")
        assert refused.returncode == 1
        assert "can't be read" in refused.stderr
        assert "s3cret" not in refused.stderr
        assert "servers move SEGMENT s1" in run("add", "s1", "-", stdin=cluster.other_urls[0] + "\n").stdout
        assert run("move", segment, "s1").stdout == "Moved 30 vectors to s1.\n"
        rows = json.loads(run("list", "--json").stdout)
        assert [(row["name"], row["segments"], row["rows"], row["is_reachable"]) for row in rows] == [
            ("s1", 1, 30, True)
        ]
        assert "answers" in run("list").stdout
        assert "holds 1 segments" in run("remove", "s1").stderr
        segment = session.value("SELECT segment FROM siglip.segments WHERE server = 's1'")
        assert run("move", segment, "here").stdout == "Moved 30 vectors here.\n"
        assert run("remove", "s1").stdout == "Removed the server s1.\n"
