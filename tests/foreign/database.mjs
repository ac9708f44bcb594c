// The database that the environment names (PGHOST …), as `postgres` (which @pgflow/core works with) and `pg` have it.
import pg from 'pg';
import postgres from 'postgres';

export const parameters = () => process.argv.slice(2).map((argument) => JSON.parse(argument));
export const connect = () => postgres({ max: 2, onnotice: () => {} });
export const open = async () => {
  const client = new pg.Client();
  await client.connect();
  return client;
};
