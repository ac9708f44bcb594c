// Flows as a TypeScript project defines them; their handlers are Python's (flows.py).
import { Flow } from '@pgflow/dsl';

const elsewhere = () => {
  throw new Error('worked by Python');
};

const orders = new Flow({ slug: 'orders', maxAttempts: 3, baseDelay: 1, timeout: 20 })
  .array({ slug: 'lines' }, elsewhere)
  .map({ slug: 'price', array: 'lines' }, elsewhere)
  .step({ slug: 'stock', dependsOn: ['lines'], maxAttempts: 2 }, elsewhere)
  .step({ slug: 'invoice', dependsOn: ['price', 'stock'] }, elsewhere);

const squares = new Flow({ slug: 'squares' }).map({ slug: 'square' }, elsewhere);

export const flows = { orders, squares };
