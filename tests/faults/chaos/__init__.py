"""Worker processes under load, a driver that injects faults, and a ledger that says what really happened.

python -m tests.faults.chaos --seconds 60 --seed 7
"""
