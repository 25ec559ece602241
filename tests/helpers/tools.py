"""Programs that tests use where they are installed: nginx, a browser, Prometheus."""

import os
import shutil


def find_tool(name: str) -> str | None:
    """Find a program, also where Debian has those of the system."""
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
