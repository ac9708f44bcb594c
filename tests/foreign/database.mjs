// The address that every script gets first, as `postgres` (which @pgflow/core works with) and `pg` want it.
import pg from 'pg';
import postgres from 'postgres';

const address = JSON.parse(process.argv[2]);

export const parameters = () => process.argv.slice(3).map((argument) => JSON.parse(argument));
export const connect = () => postgres({ ...address, max: 2, onnotice: () => {} });
export const open = async () => {
  const client = new pg.Client(address);
  await client.connect();
  return client;
};
