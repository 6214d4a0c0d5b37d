"""`python -m lcelib.cli`."""

from lcelib.cli.main import main

main()
