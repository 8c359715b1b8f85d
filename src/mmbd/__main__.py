"""`python -m mmbd` is the command line."""

from mmbd.cli import main

main()
