// What a TypeScript project does: stores its flows, starts a run, reads how it ended. Arguments: flow, input.
import { PgflowSqlClient } from '@pgflow/core';
import { compileFlow } from '@pgflow/dsl';
import { connect, parameters } from './database.mjs';
import { flows } from './flows.mjs';

const [slug, input] = parameters();
const sql = connect();
for (const statement of compileFlow(flows[slug])) await sql.unsafe(statement);
const { run_id } = await new PgflowSqlClient(sql).startFlow(slug, input);

let run;
do {
  await new Promise((resolve) => setTimeout(resolve, 50));
  [run] = await sql`select status, output from pgflow.runs where run_id = ${run_id}`;
} while (run.status === 'started');
const steps = await sql`select step_slug, status, error_message from pgflow.step_states where run_id = ${run_id}`;
await sql.end();
console.log(JSON.stringify({ run_id, ...run, steps: Object.fromEntries(steps.map((s) => [s.step_slug, s])) }));
