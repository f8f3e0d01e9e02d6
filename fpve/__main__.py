"""`python -m fpve`."""

from fpve.cli import main

if __name__ == "__main__":
    main()
