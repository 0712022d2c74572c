"""`python -m mcsim` is the `mcsim` command."""

from mcsim.cli import main

if __name__ == "__main__":
    main()
