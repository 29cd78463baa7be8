"""Runs the ``dgex`` command as ``python -m dgex``."""

from dgex.cli import main

if __name__ == "__main__":
    main()
