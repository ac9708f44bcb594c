// A worker of TypeScript's: what `@pgflow/core` asks of a database, with handlers for a core of 0.14, where the run's
// input comes as flow_input. Works until it is killed. Argument: flow.
import { randomUUID } from 'node:crypto';
import { PgflowSqlClient } from '@pgflow/core';
import { connect, parameters } from './database.mjs';

const handlers = {
  lines: (_, input) => input.lines,
  price: (line) => line.amount * line.price,
  stock: ({ lines }) => {
    if (lines.length === 0) throw new Error('stock: nothing was ordered');
    return 100 - lines.reduce((sum, line) => sum + line.amount, 0);
  },
  invoice: (deps) => ({
    total: deps.price.reduce((sum, price) => sum + price, 0),
    deps: Object.keys(deps).sort(),
    left: deps.stock,
  }),
};

const [slug] = parameters();
const sql = connect();
const client = new PgflowSqlClient(sql);
const worker = randomUUID();
await sql`insert into pgflow.workers (worker_id, queue_name, function_name) values (${worker}, ${slug}, 'node')`;
for (;;) {
  const messages = await client.readMessages(slug, 2, 10, 1, 50);
  const tasks = await client.startTasks(slug, messages.map((message) => message.msg_id), worker);
  for (const task of tasks) {
    try {
      await client.completeTask(task, handlers[task.step_slug](task.input, task.flow_input));
    } catch (error) {
      await client.failTask(task, error);
    }
  }
}
