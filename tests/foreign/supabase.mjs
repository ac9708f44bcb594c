// Of a Supabase client what @pgflow/client uses, on PostgreSQL itself: rpc and tables as PostgREST has them, channels
// fed by the NOTIFY of the tests' realtime.send (cores.py).
import { open } from './database.mjs';

const CHANNEL = 'realtime';

class Rows {
  // `select … eq … order … single`, awaited at its end
  #client;
  #table;
  #where = [];
  #order = '';
  #single = false;

  constructor(client, table) {
    this.#client = client;
    this.#table = table;
  }
  select() {
    return this;
  }
  eq(column, value) {
    this.#where.push([column, value]);
    return this;
  }
  order(column, { ascending }) {
    this.#order = `order by ${column} ${ascending ? 'asc' : 'desc'}`;
    return this;
  }
  single() {
    this.#single = true;
    return this;
  }
  then(resolve, reject) {
    return this.#read().then(resolve, reject);
  }
  async #read() {
    const where = this.#where.map(([column], index) => `${column} = $${index + 1}`).join(' and ');
    const values = this.#where.map(([, value]) => value);
    return answer(async () => {
      const sql = `select to_jsonb(t) as row from pgflow.${this.#table} t where ${where} ${this.#order}`;
      const rows = (await this.#client.query(sql, values)).rows.map(({ row }) => row);
      if (this.#single && rows.length !== 1) throw Object.assign(new Error('not one row'), { code: 'PGRST116' });
      return this.#single ? rows[0] : rows;
    });
  }
}

class Channel {
  #listeners = [];
  #subscribed;

  constructor(topic, subscribed) {
    this.topic = topic;
    this.#subscribed = subscribed;
  }
  on(type, { event }, listener) {
    this.#listeners.push({ type, event, listener });
    return this;
  }
  subscribe(tell = () => {}) {
    this.#subscribed.add(this);
    queueMicrotask(() => tell('SUBSCRIBED'));
    return this;
  }
  unsubscribe() {
    this.#subscribed.delete(this);
  }
  receive(message) {
    for (const { type, event, listener } of this.#listeners)
      if (type === 'broadcast' && event === '*') listener({ type, ...message });
  }
}

async function answer(ask) {
  try {
    return { data: await ask(), error: null };
  } catch (error) {
    return { data: null, error };
  }
}

export async function connectSupabase() {
  const client = await open();
  const listening = await open();
  const subscribed = new Set();
  listening.on('notification', ({ payload }) => {
    const { topic, event, payload: sent } = JSON.parse(payload);
    for (const channel of subscribed) if (channel.topic === topic) channel.receive({ event, payload: sent });
  });
  await listening.query(`listen ${CHANNEL}`);

  async function rpc(name, args) {
    // as PostgREST does: the arguments are one JSON object, cast to the types that the function declares
    const types = await client.query(
      `select a.name, t.type::regtype::text as type
         from pg_proc p, unnest(p.proargnames[1 : p.pronargs], p.proargtypes::oid[]) with ordinality as x(name, type, n)
        cross join lateral (select x.name) a cross join lateral (select x.type) t
        where p.pronamespace = 'pgflow'::regnamespace and p.proname = $1 order by x.n`,
      [name],
    );
    const given = types.rows.filter((row) => row.name in args);
    const sql = `select pgflow.${name}(${given.map((g) => `${g.name} => x.${g.name}`)}) as data
                   from json_to_record($1) as x (${given.map((g) => `${g.name} ${g.type}`)})`;
    return answer(async () => (await client.query(sql, [JSON.stringify(args)])).rows[0].data);
  }

  return {
    schema: () => ({ rpc, from: (table) => new Rows(client, table) }),
    channel: (topic) => new Channel(topic, subscribed),
    end: () => Promise.all([client.end(), listening.end()]),
  };
}
