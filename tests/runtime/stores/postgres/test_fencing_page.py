"""The conditional write of docs/fencing.md, on PostgreSQL."""

import re
from pathlib import Path
from typing import Any

import psycopg


def statements(root: Path) -> dict[str, Any]:
    page = (root / "docs" / "fencing.md").read_text(encoding="utf-8")
    texts = re.findall(r'^(SCHEMA|WRITE) = """\n(.*?)"""', page, re.DOTALL | re.MULTILINE)
    return dict(texts)


def test_the_conditional_write_of_the_page_holds_on_postgresql(
    root: Path, postgres_server: Any
) -> None:
    found = statements(root)
    write = found["WRITE"].replace("?", "%s")
    old, new = 12_582_914, (1 << 62) + 3
    with psycopg.connect(postgres_server.url()) as database:
        database.execute("CREATE SCHEMA fencing_page")
        database.execute("SET search_path TO fencing_page")
        database.execute(found["SCHEMA"])
        assert database.execute(write, ("alice", 500, old)).rowcount == 1
        assert database.execute(write, ("alice", 600, old)).rowcount == 1, "the same incarnation"
        assert database.execute(write, ("alice", 700, new)).rowcount == 1
        assert database.execute(write, ("alice", 0, old)).rowcount == 0
        assert database.execute("SELECT cents, fence FROM accounts").fetchall() == [(700, new)]
        database.rollback()
