"""`python -m mmbd` is the command line."""

from mmbd.cli import main

if __name__ == "__main__":
    main()
