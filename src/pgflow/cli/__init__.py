"""The `pgflow` command.

pgflow demo                                  # a first look; needs no database
pgflow migrate                               # install or upgrade the schema
pgflow worker myapp.flows                    # work on the flows of a module
pgflow start email_campaign '{"id": 1}'      # start a run
pgflow runs; pgflow show RUN                 # look at what happened
"""

import sys


def main() -> None:
    """The command's entry point; exits with 0 done, 1 the run failed, 2 wrong use, 3 the database is out of reach."""
    try:
        from pgflow.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("pgflow: the command line needs typer and rich: run `pip install 'py-pgflow[cli]'`\n")
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
