// @pgflow/client drives a run and tells what it saw. Arguments: flow, input, the status to wait for.
import {
  isFlowRunCompletedEvent,
  isFlowRunEvent,
  isFlowRunFailedEvent,
  isStepCompletedEvent,
  isStepEvent,
  isStepFailedEvent,
  isStepStartedEvent,
  PgflowClient,
} from '@pgflow/client';
import { parameters } from './database.mjs';
import { connectSupabase } from './supabase.mjs';

console.log = console.error; // what the client has to say is not our answer
const GUARDS = {
  'run:started': isFlowRunEvent,
  'run:completed': isFlowRunCompletedEvent,
  'run:failed': isFlowRunFailedEvent,
  'step:started': isStepStartedEvent,
  'step:completed': isStepCompletedEvent,
  'step:failed': isStepFailedEvent,
};
const ownToTheRun = (key) => key === 'run_id' || key.endsWith('_at');
const seen = (event) => ({
  event: [event.event_type, ...(event.step_slug ? [event.step_slug] : [])].join(' '),
  payload: Object.entries(event).map(([key, value]) => [key, ownToTheRun(key) ? null : value]).sort(),
  accepted: GUARDS[event.event_type](event) && isFlowRunEvent(event) !== isStepEvent(event),
});
const told = (run, slugs) => ({
  status: run.status,
  input: run.input,
  output: run.output,
  error: run.error_message,
  remaining: run.remaining_steps,
  ended: [run.completed_at, run.failed_at].map((time) => time instanceof Date),
  steps: Object.fromEntries(
    slugs.map((slug) => [slug, [run.step(slug).status, run.step(slug).output, run.step(slug).error_message]]),
  ),
});

const [slug, input, status] = parameters();
const supabase = await connectSupabase();
const client = new PgflowClient(supabase, { realtimeStabilizationDelayMs: 0 });
const events = [];
client.onRunEvent((event) => events.push(seen(event)));
client.onStepEvent((event) => events.push(seen(event)));

const definition = await client.fetchFlowDefinition(slug);
const slugs = definition.steps.map((step) => step.step_slug);
const run = await client.startFlow(slug, input);
const held = run.on('*', () => {}); // a run that nobody listens to forgets its steps when it ends
const atStart = told(run, slugs);
const ended = slugs.map((step) => run.step(step).waitForStatus('completed', { timeoutMs: 50000 }).catch(() => null));
await run.waitForStatus(status, { timeoutMs: 50000 });
if (status === 'completed') await Promise.all(ended);
const atEnd = told(run, slugs);
held();

const another = new PgflowClient(supabase, { realtimeStabilizationDelayMs: 0 });
const later = told(await another.getRun(run.run_id), slugs);
const unknown = await another.getRun('00000000-0000-4000-8000-000000000000');
const refused = await client.startFlow('no_such_flow', {}).catch((error) => error.message);
await supabase.end();
process.stdout.write(
  `${JSON.stringify({ run_id: run.run_id, flow: definition.flow, atStart, atEnd, later, events, unknown, refused })}\n`,
);
process.exit(0); // the timers of what it waited for in vain
