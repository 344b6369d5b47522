"""`python -m hetconv`, the same as the command."""

from hetconv.cli import main

main()
