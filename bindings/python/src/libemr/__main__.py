"""__main__.py - `python -m libemr`: the program emr that came with the wheel."""

from __future__ import annotations

import os
import sys
import sysconfig


def main() -> None:
    program = os.path.join(sysconfig.get_path("scripts"), "emr")
    if not os.path.exists(program):
        sys.exit(f"{program} is not there: libemr was not installed by pip into this environment")
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
