"""check_rows.py - runs emr-bench in small and checks its rows: that they are JSON, complete, and say what they
measured. Never how long anything took."""
import json
import subprocess
import sys

GROUPS = ("machine", "kernels", "memory", "files", "combine", "masks", "open", "access", "session", "serving")


def check_row(row, groups):
    assert set(row) == {"name", "value", "unit", "bar", "met"}, row
    assert row["name"].split(":")[0] in groups, row
    assert isinstance(row["value"], str if row["unit"] == "text" else (int, float)), row
    assert (row["bar"] is None) == (row["met"] is None), row


def main(program, *more):
    groups = GROUPS + more
    run = subprocess.run([program, "--quick", "--json"], stdout=subprocess.PIPE, check=True)
    rows = json.loads(run.stdout)
    for row in rows:
        check_row(row, groups)
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), sorted(name for name in names if names.count(name) > 1)
    for group in groups:
        assert any(name.startswith(group + ":") for name in names), group
    print(f"{len(rows)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
