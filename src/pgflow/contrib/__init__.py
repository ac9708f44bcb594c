"""What belongs to somebody else's framework; each needs an extra, and nothing else imports it."""
