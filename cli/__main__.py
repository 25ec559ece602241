"""`python -m cli` is `flyobj`."""

from cli import main

main()
