"""`python -m lastgood.cli`: the command line where no console script is on the path."""

from lastgood.cli import main

main()
