"""`python -m molyneux`: the command line."""

from molyneux.cli.main import main

if __name__ == "__main__":
    main()
