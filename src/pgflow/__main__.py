"""`python -m pgflow` is `pgflow`."""

from pgflow.cli import main

if __name__ == "__main__":
    main()
