"""`python -m symphony` is the command."""

from symphony.cli.main import main

main()
