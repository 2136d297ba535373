"""``python -m edgeface``: the command line."""

from edgeface.cli.main import main

if __name__ == "__main__":
    main()
