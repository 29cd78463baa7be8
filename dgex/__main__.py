"""``python -m dgex``: the ``dgex`` command."""

from dgex.cli import main

if __name__ == "__main__":
    main()
