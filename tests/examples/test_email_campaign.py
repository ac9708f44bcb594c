"""The user's own example, against a real SMTP server."""

from __future__ import annotations

import csv
import importlib.util
import socket
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from types import ModuleType

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

import pgflow

EXAMPLE = Path(__file__).parents[2] / "examples" / "email_campaign.py"


class Mailbox:
    """Keeps what arrives; defers the first mail once, as greylisting servers do."""

    def __init__(self) -> None:
        self.received: list[tuple[str, str]] = []
        self.deferred = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if not self.deferred:
            self.deferred += 1
            return "451 try again later"
        message = message_from_bytes(envelope.content)
        self.received.append((envelope.rcpt_tos[0], message["Message-ID"]))
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("refused"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with socket.socket() as probe:  # aiosmtpd's controller cannot take just any port
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("email_campaign", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _subscribers(path: Path, addresses: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "email"])
        writer.writerows((address.split("@")[0], address) for address in addresses)
    return path


def _request(example: ModuleType, subscribers: Path, port: int) -> object:
    return example.Campaign(
        subscribers=subscribers, subject="News", text="Hello {name}!", smtp_host="127.0.0.1", smtp_port=port
    )


@pytest.mark.slow
def test_a_thousand_subscribers_get_one_mail_each(dsn, example, mailbox, tmp_path):
    box, port = mailbox
    addresses = [f"reader{n}@example.com" for n in range(1000)]
    request = _request(example, _subscribers(tmp_path / "subscribers.csv", addresses), port)

    output = pgflow.execute(example.campaign, request, dsn=dsn, timeout=90)

    assert output == {"track_results": {"sent": 1000, "recipients": 1000}}
    assert box.deferred == 1
    assert sorted(address for address, _ in box.received) == sorted(addresses)
    assert len({message_id for _, message_id in box.received}) == 1000


def test_a_refused_address_fails_the_run_and_says_which(dsn, example, mailbox, tmp_path):
    _, port = mailbox
    request = _request(example, _subscribers(tmp_path / "subscribers.csv", ["refused@example.com"]), port)

    with pytest.raises(pgflow.RunFailed, match=r"refused@example\.com was refused") as failed:
        pgflow.execute(example.campaign, request, dsn=dsn, timeout=30)

    assert (failed.value.step, failed.value.task_index, failed.value.attempt) == ("send_email", 0, 1)
