"""`python -m molyneux.cli`, the same as `molyneux`."""

from molyneux.cli.main import main

if __name__ == "__main__":
    main()
