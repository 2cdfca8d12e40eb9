"""``python -m admmctl.cli``."""

from admmctl.cli import main

if __name__ == "__main__":
    main()
