"""`manage.py pgflow …`: pgflow's own commands, on the project's database and with its flows."""

from __future__ import annotations

import sys
from argparse import REMAINDER
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError

from pgflow.cli.app import WRONG_USE, run
from pgflow.cli.program import Program
from pgflow.contrib.django import conf
from pgflow.contrib.django.address import dsn
from pgflow.contrib.django.discovery import served_references
from pgflow.contrib.django.middleware import fresh_connections


class Command(BaseCommand):
    """`manage.py pgflow worker` serves all flows of the project, unless modules are named."""

    help = "pgflow's commands, on this project's database: `manage.py pgflow` lists them."
    #: What starts Django anew, for `worker --processes` and `--reload`.
    _starter: tuple[str, ...] = ("-m", "django")
    #: Django's own options, as they were given.
    djangos_options: tuple[str, ...] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Django has heeded --settings and --pythonpath by now, wherever they stood; ours would not know them."""
        if Path(argv[0]).name != "__main__.py":
            self._starter = (argv[0],)
        djangos = CommandParser(add_help=False, allow_abbrev=False)
        for option in ("--settings", "--pythonpath"):
            djangos.add_argument(option)
        given, ours = djangos.parse_known_args(argv[2:])
        self.djangos_options = tuple(f"--{name}={value}" for name, value in vars(given).items() if value is not None)
        super().run_from_argv([*argv[:2], *self.djangos_options, *ours])

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("command", nargs=REMAINDER, help="A command of pgflow's, with its arguments.")

    def check(self, *arguments: Any, **options: Any) -> None:
        """Our exit status tells the parent of several workers that no restart would help."""
        try:
            super().check(*arguments, **options)
        except SystemCheckError as error:
            error.returncode = WRONG_USE
            raise

    def handle(self, *_: Any, command: list[str], **options: Any) -> None:
        if any(word.partition("=")[0] == "--dsn" for word in command):
            fault = "the database is the project's: PGFLOW['DATABASE'] says which of DATABASES it is"
            raise CommandError(fault, returncode=WRONG_USE)
        address = dsn()
        program = Program(
            name="manage.py pgflow",
            command=(sys.executable, *self._starter, "pgflow", *self.djangos_options),
            defaults={"dsn": lambda: address, "worker": {"flows": served_references, **conf.read().worker}},
            middleware=fresh_connections,
        )
        if status := run(command, program):
            sys.exit(status)
