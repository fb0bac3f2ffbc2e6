"""`python -m emoviews`: the command line, where the program `emoviews` is not on the path."""

from emoviews.cli import main

if __name__ == "__main__":
    main()
