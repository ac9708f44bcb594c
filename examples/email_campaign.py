"""A mail campaign: fetch subscribers → send each one a mail (a map) → track what came of it.

Try it against a mail server that only prints:

    python -m aiosmtpd -n -l localhost:1025 &
    python examples/email_campaign.py subscribers.csv      # a file with the columns name and email
"""

import csv
import smtplib
import sys
from email.message import EmailMessage
from pathlib import Path

from pydantic import BaseModel

import pgflow

campaign = pgflow.Flow("email_campaign", max_attempts=5, base_delay=2, timeout=60)


class Campaign(BaseModel):
    subscribers: Path
    subject: str
    text: str
    smtp_host: str = "localhost"
    smtp_port: int = 1025


class Subscriber(BaseModel):
    name: str
    email: str


class Receipt(BaseModel):
    email: str
    message_id: str


@campaign.step
def fetch_subscribers(flow_input: Campaign) -> list[Subscriber]:
    with flow_input.subscribers.open(newline="") as file:
        return [Subscriber(name=row["name"], email=row["email"]) for row in csv.DictReader(file)]


@campaign.map(over=fetch_subscribers)
def send_email(subscriber: Subscriber, flow_input: Campaign, ctx: pgflow.Context) -> Receipt:
    message = EmailMessage()
    message["From"] = "news@example.com"
    message["To"] = subscriber.email
    message["Subject"] = flow_input.subject
    # The same on every attempt: should a mail go out twice, the reader's mail program shows it once.
    message["Message-ID"] = f"<{ctx.run_id}.{ctx.task_index}@example.com>"
    message.set_content(flow_input.text.format(name=subscriber.name))
    try:
        with smtplib.SMTP(flow_input.smtp_host, flow_input.smtp_port) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        # Any other error (the server is down, say) is tried again after 2, 4, 8 … seconds.
        raise pgflow.Permanent(f"{subscriber.email} was refused: {error}") from error
    return Receipt(email=subscriber.email, message_id=message["Message-ID"])


@campaign.step
def track_results(send_email: list[Receipt]) -> dict[str, int]:
    return {"sent": len(send_email), "recipients": len({receipt.email for receipt in send_email})}


if __name__ == "__main__":
    request = Campaign(subscribers=Path(sys.argv[1]).absolute(), subject="News", text="Hello {name}, here is the news.")
    print(pgflow.execute(campaign, request))
