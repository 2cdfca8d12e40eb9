"""``python -m admmctl``: the command, where it is not on the PATH."""

from admmctl.cli import main

if __name__ == "__main__":
    main()
