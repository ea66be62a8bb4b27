"""``python -m ioa_marl`` is the command ``ioa-marl``."""

from ioa_marl.cli import main

if __name__ == "__main__":
    main()
