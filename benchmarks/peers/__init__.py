"""What is measured: one small file per engine, all with the same few verbs.

An engine is a file `<name>.py` here, which defines a `harness.Engine` and hands it to `harness.main`, and a file
`<name>.txt` with what it needs: requirements, each pinned with `==`, and, in comments that `environments.py` reads,
`# python >= X.Y`, `# npm package==version` and `# debian program`. It runs in an environment of its own, never in ours
(but for `ours` and `floor`), always in processes of its own, and only ever sees the address of a fresh, empty
database, of PostgreSQL or (`Engine.store`) of Redis:

    prepare(address)                      installs its schema; once per database
    work(address, setup)                  a worker process: calls `setup.ready()` when it takes work, until cancelled
    client(address, setup) -> Client      a process of its own, which starts work and sees it done:
        fan_out(items)                      starts work on `setup.elements(items)`; returns when all are stored
        start_runs(runs, steps)             starts so many runs, each a chain of steps
        finish_runs(runs, steps)            returns when they have all ended
        run_once(steps)                     starts one run and returns when its end is known (without results: when its
                                            handlers have run)

A handler does nothing but `await setup.handle()` (which waits, in the workload where handlers wait) and returns a
small value. Queues that keep no results have no way to tell a client that work is done; their handlers say so through
`setup.tally`, a pipe to the client that costs a microsecond and no database work, and when the pipe has told of all
of them the client looks until the queue itself calls them done. That is in their favour.

What an engine cannot do it leaves out of `Engine.kinds`: it then has no line in that table, never a guess. What it
guarantees for a task stands in `../guarantees.py`.
"""
