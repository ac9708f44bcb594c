"""Faults to plant in our SQL, one at a time: the model-based test must find each of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

import psycopg

from tests.testing.history import play
from tests.testing.real import Real


@dataclass(frozen=True, slots=True)
class Fault:
    """A place in one function (or view) of `sql/functions`, and what it is replaced by."""

    name: str
    function: str
    old: str
    new: str
    breaks: str

    @property
    def source(self) -> str:
        """The function as it ought to be."""
        return (files("pgflow") / "sql" / "functions" / f"{self.function}.sql").read_text()

    def plant(self, connection: psycopg.Connection) -> None:
        """Replaces the function in this database."""
        assert self.source.count(self.old) == 1, f"{self.name}: no longer one such place in {self.function}"
        connection.execute(self.source.replace(self.old, self.new))


FAULTS = [
    # counters
    Fault("run not counted down", "_count_down_steps", "- w.ended", "- 0", "runs never end"),
    Fault("map counted down by one", "_count_down_tasks", "ss.remaining_tasks - w.tasks,",
          "ss.remaining_tasks - 1,", "remaining_tasks after several tasks settle at once"),
    Fault("dependents not counted down", "_release_dependents", "ss.remaining_deps - f.deps,",
          "ss.remaining_deps - 1,", "a step whose two dependencies end in one wave"),
    Fault("skipped dependents keep no books", "_release_dependents", "ss.status in ('created', 'skipped')",
          "ss.status = 'created'", "remaining_deps of what was skipped"),
    Fault("map without its length", "_release_dependents", "else coalesce(x.initial_tasks, f.elements) end as tasks",
          "else coalesce(x.initial_tasks, least(f.elements, 3)) end as tasks", "maps of more than three elements"),
    Fault("freed steps start unjudged", "_release_dependents", "f.is_unconditional and", "", "dependents' conditions"),
    Fault("freed steps start before others are judged", "_release_dependents",
          "bool_and(not w.is_free or w.is_free_to_start) over (partition by f.run_id)", "w.is_free_to_start",
          "a run that fails by one of two steps that are freed together"),
    Fault("root steps start unjudged", "_start_runs", "or s.is_unconditional and", "or", "conditions of root steps"),
    # claims
    Fault("fence does not grow", "_claim_tasks", "fence = t.fence + 1", "fence = greatest(t.fence, 1)",
          "an old claim passes for the current one"),
    Fault("attempts not counted", "_claim_tasks", "attempts_count = t.attempts_count + 1",
          "attempts_count = greatest(t.attempts_count, 1)", "a task is retried for ever"),
    Fault("flow input for every single step", "_claim_tasks", "c.is_root then\n                  (select r.input",
          "true then\n                  (select r.input", "flow_input of steps with dependencies"),
    Fault("input of skipped dependencies", "_step_inputs", "d.dep_slug and x.status = 'completed'",
          "d.dep_slug", "the key of a skipped dependency is there, as null"),
    # settling
    Fault("verdicts swapped", "_judge_outcomes", """when o.nth > 1 or o.fence = t.settled_fence then 'duplicate'
                   when t.fence is null then 'gone'
                   when o.fence is distinct from t.fence then 'stale'
                   when not g.open then 'gone'""", """when t.fence is null then 'gone'
                   when not g.open then 'gone'
                   when o.nth > 1 or o.fence = t.settled_fence then 'duplicate'
                   when o.fence is distinct from t.fence then 'stale'""",
          "a lost answer, sent again after the run has ended"),
    Fault("stale outcomes pass", "_judge_outcomes", "when o.fence is distinct from t.fence then 'stale'",
          "when o.fence > t.fence then 'stale'", "who lost its claim settles"),
    Fault("second of two settles", "_judge_outcomes", "o.nth > 1 or ", "", "two outcomes of one claim in one call"),
    Fault("release is not remembered", "_put_back", "settled_fence = t.fence,", "settled_fence = t.settled_fence,",
          "the verdict on a repeated release or retry"),
    Fault("attempt not given back", "_put_back", "case when j.action = 'release' then 1 else 0 end", "0",
          "released tasks use up attempts"),
    Fault("retry forgets the error", "_put_back", "when j.action = 'retry' then", "when j.action = 'release' then",
          "error_message of a retried task"),
    Fault("attempts run out too late", "_judge_outcomes", "t.attempts_count < g.max_attempts",
          "t.attempts_count <= g.max_attempts", "one attempt too many"),
    Fault("attempts run out too late by contract", "fail_task", "v_task.attempts_count < v_max_attempts",
          "v_task.attempts_count <= v_max_attempts", "one attempt too many"),
    Fault("retry delay grows wrongly", "calculate_retry_delay", "base_delay * power(2::numeric, attempts_count)",
          "base_delay * power(2::numeric, attempts_count - 1)", "when a failed task comes back"),
    Fault("retry_in ignored", "_judge_outcomes",
          "coalesce(o.retry_in, pgflow.calculate_retry_delay(g.base_delay, t.attempts_count))",
          "pgflow.calculate_retry_delay(g.base_delay, t.attempts_count)::double precision",
          "the delay that a handler asked for"),
    Fault("step's options ignored", "_task_options", "coalesce(s.opt_max_attempts, f.opt_max_attempts)",
          "coalesce(f.opt_max_attempts, s.opt_max_attempts)", "max_attempts of a step"),
    Fault("completed message stays", "_store_results", "array_agg(s.message_id)",
          "array_agg(s.message_id) filter (where s.n = 1)", "messages of settled map tasks"),
    Fault("stale results are stored", "_store_results", "t.fence = o.fence and t.settled_fence",
          "t.fence >= o.fence and t.settled_fence", "who lost its claim settles"),
    Fault("settled results are stored again", "_store_results", "t.settled_fence <> o.fence and", "",
          "a result that comes after its task was handed back"),
    Fault("two claims judged one after the other", "settle_tasks", "count(*) > count(distinct x.task_index)", "false",
          "an old and the current claim of a task in one call"),
    Fault("what cannot be stored is not judged", "settle_tasks", "where o.status = 'completed'\n        ), outcomes",
          "where o.status = 'failed'\n        ), outcomes", "verdicts of late results"),
    Fault("aggregate out of order", "_count_down_tasks", "array_agg(t.output order by t.task_index)",
          "array_agg(t.output order by t.completed_at, t.output)", "the output of a map"),
    Fault("type violation missed", "_starved_map", "is distinct from 'array'", "= 'object'",
          "a number or null where a map waits for a list"),
    Fault("late completion accepted", "complete_task", "elsif v_held.step_status <> 'started' then",
          "elsif v_held.step_status = 'completed' then", "complete_task on a skipped step"),
    Fault("late failure changes the task", "fail_task", "elsif v_held.step_status <> 'started' then",
          "elsif v_held.step_status = 'completed' then", "fail_task on a skipped step"),
    Fault("completion of what is queued", "complete_task", "elsif (v_held.task).status = 'started' then",
          "elsif (v_held.task).status in ('queued', 'started') then", "complete_task before start_tasks"),
    # what follows
    Fault("condition inverted", "_unmet_steps", "not j.context @> s.forbidden_input_pattern",
          "j.context @> s.forbidden_input_pattern", "forbidden patterns"),
    Fault("declared length ignored", "_unmet_steps", "(s.initial_tasks <> ss.initial_tasks) is true",
          "false", "a map that got another length than it expects"),
    Fault("unmet fails last", "_judge_steps",
          "filter (where w.action = 'skip' and not w.run_fails)", "filter (where w.action = 'skip')",
          "a step is skipped under a run that fails"),
    Fault("cascade stops at once", "_skip_downstream", "x.flow_slug = r.flow_slug and x.dep_slug = r.step_slug",
          "false", "skip-cascade takes nothing along"),
    Fault("cascade stops at terminal steps", "_skip_downstream",
          "x.flow_slug = r.flow_slug and x.dep_slug = r.step_slug",
          "x.flow_slug = r.flow_slug and x.dep_slug = r.step_slug and not exists (select from pgflow.step_states z "
          "where z.run_id = r.run_id and z.step_slug = r.step_slug and z.status = 'skipped')",
          "what comes after a step that was skipped before"),
    Fault("cascade leaves messages", "_skip_downstream", "perform pgflow._archive_open_tasks(v_reached);", "",
          "tasks of a step that is skipped while it runs"),
    Fault("skip leaves sibling messages", "_exhaust_task", "perform pgflow._archive_open_tasks(array[v_key]);", "",
          "siblings of a task that exhausted its attempts"),
    Fault("skip does not go on", "_skip_steps", "return (pgflow._release_dependents(p_keys, false)).ready;",
          "return '{}';", "dependents of a skipped step"),
    Fault("when_exhausted ignored", "_exhaust_task", "case v_when_exhausted", "case 'fail'",
          "a flow that could go on fails"),
    Fault("run ends before its cascade", "_exhaust_task",
          "perform pgflow._count_down_steps(array[(p_run_id, null)::pgflow.step_key], true);", "",
          "a run whose last steps are skipped with a failed one"),
    Fault("failed run keeps messages", "_fail_run", "ss.status in ('started', 'failed')", "ss.status = 'failed'",
          "tasks of other steps under a failed run"),
    Fault("empty map not completed", "_complete_taskless_steps", "ss.remaining_deps = 0 and ss.initial_tasks = 0",
          "ss.remaining_deps = 0 and ss.initial_tasks = 0 and not exists (select from pgflow.deps u where u.flow_slug "
          "= r.flow_slug and u.step_slug = k.step_slug)", "a map of an empty list"),
    Fault("empty map without output", "_complete_taskless_steps",
          "output = case when s.step_type = 'map' then '[]'::jsonb end", "output = null", "its dependents' input"),
    Fault("chain of empty maps stops", "_advance", "v_ready := (pgflow._complete_taskless_steps(v_ready)).ready;",
          "perform pgflow._complete_taskless_steps(v_ready); v_ready := '{}';", "what follows taskless steps"),
    Fault("output of a root leaf missing", "_count_down_steps", "ss.status = 'completed'\n",
          "ss.status = 'completed' and exists (select from pgflow.deps u where u.flow_slug = ss.flow_slug and "
          "u.step_slug = ss.step_slug)\n", "a run's output"),
    Fault("output of skipped leaves", "_count_down_steps", "ss.status = 'completed'\n",
          "ss.status in ('completed', 'skipped')\n", "a run's output"),
    Fault("start delay ignored", "_send_tasks", "coalesce(s.opt_start_delay, 0)", "0", "steps that start later"),
    # recovery
    Fault("lease ignored", "_worker_holds", "coalesce(t.leased_until, t.started_at + make_interval(secs => o.timeout "
          "+ 30)) as at", "coalesce(t.started_at - interval '1 s', t.leased_until) as at",
          "a task that somebody holds is started again"),
    Fault("grace ignored", "_sort_out_messages", " and v_grace < clock_timestamp()", "",
          "what lapsed while the database was away"),
    Fault("stalls never counted", "_sort_out_messages", "t.requeued_count + case when l.is_stall and not l.over then "
          "1 else 0 end", "t.requeued_count", "tasks that stall for ever"),
    Fault("lost answers use up attempts", "_sort_out_messages", "case when l.is_stall then 0 else 1 end", "0",
          "a task whose answer was lost"),
    Fault("lost worker not noticed", "_worker_holds", "w.stopped_at is null", "true",
          "the stalls of a worker that is gone"),
    Fault("given up too late", "_sort_out_messages", "t.requeued_count >= 3", "t.requeued_count > 3",
          "a fourth stall"),
    Fault("given up too late by contract", "requeue_stalled_tasks", "t.requeued_count >= 3", "t.requeued_count > 3",
          "a fourth stall"),
    Fault("requeued early", "requeue_stalled_tasks", "o.timeout + 30", "30", "tasks with a longer timeout"),
    Fault("given up without end", "fail_stalled_tasks", "'Task stalled %s times', v_task.requeued_count",
          "'Task stalled %s times', v_task.requeued_count + 1", "what a stalled task's step says"),
    Fault("stalled task keeps its mark", "fail_task", """leased_until = null,
             permanently_stalled_at = null""", "leased_until = null",
          "a task that was given up, then failed by its worker, and retried"),
    Fault("strays stay", "_sort_out_messages", "perform pgflow._archive_messages(p_flow_slug, v_dead);", "",
          "messages of tasks that can never start"),
    Fault("lost messages not sent again", "_show_again",
          "perform pgflow._send_lost_messages(p_flow_slug, p_keys);", "",
          "a task that was given up and is then retried or released"),
    Fault("others' leases extended", "extend_leases",
          "t.fence = h.fence and t.status = 'started' and t.last_worker_id = extend_leases.worker_id\n       order",
          "t.status = 'started'\n       order", "the lease of a task that somebody else has taken over"),
    Fault("lost claims not told", "extend_leases", " or not pgflow._is_open(h.run_id, h.step_slug);", ";",
          "a worker goes on with tasks of a run that failed"),
    # handing over
    Fault("more handed over than wanted", "_send_tasks",
          "and v_handed.qty >= (select sum(k.tasks) from unnest(p_steps) as k)", "", "a worker without room"),
    Fault("delayed tasks handed over", "_send_tasks", "and clock_timestamp() >= all (v_visible_at)", "",
          "a step that starts at once in spite of its delay"),
    Fault("paused flow is handed over", "_send_tasks", " and f.paused_at is null", "", "claims while a flow is paused"),
    Fault("handed over beside a failure", "settle_tasks", "perform set_config('pgflow.handing_over', '', true);", "",
          "a task of a run that fails in the same call"),
    Fault("handed over in part", "settle_and_poll", "_tasks_handed_over(v_handed.steps)",
          "_tasks_handed_over(v_handed.steps[:1])", "tasks that nobody knows of until their leases lapse"),
    # run control
    Fault("paused flow is polled", "poll_tasks", " and f.paused_at is null", "", "claims while a flow is paused"),
    Fault("paused flow is started by contract", "start_tasks", "f.paused_at is not null", "false",
          "claims while a flow is paused"),
    Fault("retry leaves the fence", "_queue_anew", "fence = t.fence + 1", "fence = t.fence",
          "a handler from before the retry settles"),
    Fault("retry leaves the attempts", "_queue_anew", "attempts_count = 0", "attempts_count = t.attempts_count",
          "the attempts that a retried task has"),
    Fault("retry revives what was skipped", "_queue_anew", "ss.status = 'started' and t.status",
          "ss.status in ('started', 'skipped') and t.status", "dead siblings under a skipped step"),
    Fault("retry waits for skipped steps", "_reopen_steps", "up.status not in ('completed', 'skipped')",
          "up.status <> 'completed'", "remaining_deps of what is behind a skipped step"),
    Fault("retry leaves waiting steps", "retry_run", "pgflow._ready_steps(v_run.run_id)", "'{}'",
          "conditions that failed the run, and steps that were freed when it failed"),
    Fault("retry of a wrong length", "_why_no_retry", "s.initial_tasks <> ss.initial_tasks and up", "false and up",
          "a run that can only fail again"),
    Fault("retried run stays cancelled", "retry_run", "cancelled_at = null", "cancelled_at = r.cancelled_at",
          "a cancelled run that goes on"),
    Fault("rerun keeps what comes after", "_steps_from", "r.step_slug\n  )", "r.step_slug || '?'\n  )",
          "outputs that come after the step"),
    Fault("rerun forgets a cascade", "rerun", "end = 'skip-cascade'", "end = 'never'",
          "what comes after a step that was skipped with its dependents"),
    # events
    Fault("skip event without its flow", "_emit_steps", "else jsonb_build_object('flow_slug', ss.flow_slug)",
          "else '{}'::jsonb", "the payload of step:skipped"),
    Fault("events out of order", "_violate_type", """perform pgflow._fail_run(p_run_id, v_error, p_with_error => false);
  perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);""",
          """perform pgflow._emit_steps(array[(p_run_id, p_step_slug)::pgflow.step_key]);
  perform pgflow._fail_run(p_run_id, v_error, p_with_error => false);""", "parent before child"),
]  # fmt: skip


class _EnoughError(Exception):
    pass


def hunt(real: Real, histories: int, enough: int = 1) -> tuple[int, int]:
    """Plays histories until enough have shown that something is wrong; returns how many did, of how many."""
    found = played = 0

    def count(error: Exception | None) -> None:
        nonlocal found, played
        if isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith("42"):
            raise error  # wrong SQL proves nothing
        if found < enough:
            played += 1
            found += error is not None
        if found >= enough:
            raise _EnoughError

    # a fault may make an endless loop
    real.connection.execute("set statement_timeout to '10 s'")
    try:
        play(real, histories, Counter(), shrink=False, on_end=count)
    except _EnoughError:
        pass
    finally:
        real.connection.execute("reset statement_timeout")
    return found, played
