/** What a dishonest callee does to an honest daemon that calls it: what its client is told, and what it can prove. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { encodeCbor, limits } from '../../protocol/index.ts';
import { isMeshError, verifyReceipt } from '../../sdk/index.ts';
import { until } from './daemon-process.ts';
import { type Answering, ANSWERING } from './dishonest/answering.ts';
import { DishonestCallee } from './dishonest/hand-callee.ts';
import { Bystander, DishonestWorld, residentBytes } from './dishonest/world.ts';
import { never, operator } from './own-node.ts';

const SLOW = { timeout: 60_000 };
const MEBIBYTE = 1024 * 1024;
const POLICY =
  'version: "1.0"\nname: careful\ndefault: allow\ntools: { changes: approve }\noutput: { secrets: redact, instructions: mark }\n';

const callee = new DishonestCallee();
let world: DishonestWorld;
let bystander: Bystander;
let mallory: string;
let restingBytes: number;

beforeAll(async () => {
  world = await DishonestWorld.create({ wrap: callee.wrap });
  const { gamma } = world;
  const { node, agents } = world.mallory;
  callee.attach(node.node.sessions, node.clock);
  mallory = agents['reader'] ?? '';
  await world.grant(gamma, gamma.agent);
  const [address = ''] = node.addresses;
  await gamma.mesh.peers.dial(address);
  const body = { to: gamma.agent, capabilities: [{ can: 'mcp:notes/*' }] };
  const { link } = await node.api.delegationCreate({ params: {}, query: {}, body }, operator, never);
  await until('the grant arrives', async () =>
    gamma.mesh.chains.show(link.id).then(
      () => true,
      () => false,
    ),
  );
  restingBytes = residentBytes(gamma.daemon.pid);
  bystander = new Bystander(world);
}, 60_000);
afterAll(() => world[Symbol.asyncDispose]());

const openClient = () =>
  world.gamma.mesh.openClient({
    did: mallory,
    server: 'notes',
    as: world.gamma.agent,
    policies: [{ name: 'careful', files: [{ path: 'careful.yaml', text: POLICY }] }],
  });

/** What a program that calls gets. */
async function called(client: Awaited<ReturnType<typeof openClient>>, timeoutMs: number | undefined): Promise<string> {
  try {
    const { result } = await client.callTool('note', { text: 'x' }, timeoutMs === undefined ? {} : { timeoutMs });
    const [first] = result['content'] as { readonly text?: string }[];
    const text = first?.text ?? '';
    return `ok ${text.length > 200 ? `${text.length} letters` : text}`;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return error.code;
  }
}

async function kept(sid: string, n: number): Promise<string> {
  const { half, outcome, taken } = await world.receipt(world.gamma, sid, n);
  return `${half ? 'half' : 'full'} ${outcome}${taken ? ' taken' : ''}`;
}

/** Of the newest call that came. */
const lastNumber = (): number => callee.links.at(-1)?.orders.at(-1)?.payload.n ?? 0;

const TOLD = /^(?:sign|decline \w+|end (?!closed)\w+)$/;

test.each(ANSWERING)('$name', SLOW, async ({ script, calls = 1, patienceMs, ...must }: Answering) => {
  callee.script = script;
  await using client = await openClient();
  const { sid } = client.link.info;
  const link = callee.links.at(-1);
  const said: string[] = [];
  for (let at = 1; at <= calls; at++) said.push(await called(client, at === calls ? patienceMs : undefined));
  if (patienceMs !== undefined) await new Promise((resolve) => setTimeout(resolve, 600));
  await client.close();
  expect(said).toEqual(must.client);
  const numbers = link?.orders.map(({ payload }) => payload.n) ?? [];
  const told = (link?.got ?? []).filter((one) => TOLD.test(one));
  expect(told).toEqual(must.told);
  const keeps = await Promise.all(
    must.kept.map(async (want, at) => (want === 'none' ? want : kept(sid, numbers[at] ?? 0))),
  );
  expect(keeps).toEqual(must.kept);
});

test('a callee that takes a call and denies it is convicted by what it signed, offline', SLOW, async () => {
  const { gamma, mallory: peer } = world;
  callee.script = { call: (call) => call.take() };
  await using client = await openClient();
  expect(await called(client, 300)).toBe('timeout');
  await client.close();
  const { id } = await world.receipt(gamma, client.link.info.sid, lastNumber());
  const report = verifyReceipt(await gamma.mesh.receipts.file(id), { roots: [gamma.daemon.did, peer.node.did] });
  expect(report.half).toBe('caller');
  expect(report.checks.filter(({ status }) => status === 'ok').map(({ check }) => check)).toEqual([
    'receipt',
    'order',
    'taking',
    'handshake',
    'caller',
    'callee',
    'authority',
    'need',
    'callerLog',
  ]);
  expect(report.proven).toContain('against the callee: it took the order');
});

test('a session that the callee ends in the middle ends the call, with what is proven', SLOW, async () => {
  const { node } = world.mallory.node;
  callee.script = {
    call: async (call) => {
      await call.take();
      node.sessions.end(call.link.session.sid, 'closed');
    },
  };
  await using client = await openClient();
  expect(await called(client, undefined)).toBe('outcome_unknown');
  expect(await kept(client.link.info.sid, lastNumber())).toBe('half cancelled taken');
});

test('a body that never ends ends the link, and is not kept', SLOW, async () => {
  const beforeBytes = residentBytes(world.gamma.daemon.pid);
  callee.script = {
    call: async (call) => {
      await call.take();
      const part = { f: 'part', m: 1, p: new Uint8Array(limits.CALL_PART_BYTES) };
      for (let at = 0; at < 400; at++) await call.link.stream.send(encodeCbor(part));
    },
  };
  await using client = await openClient();
  expect(await called(client, undefined)).toBe('outcome_unknown');
  expect(residentBytes(world.gamma.daemon.pid) - beforeBytes).toBeLessThan(192 * MEBIBYTE);
});

test('a callee that reads nothing does not fill the memory of who calls it', SLOW, async () => {
  const beforeBytes = residentBytes(world.gamma.daemon.pid);
  const stuck = Promise.withResolvers<void>();
  callee.script = { call: () => stuck.promise, isDeaf: true };
  await using client = await openClient();
  const text = 'x'.repeat(MEBIBYTE);
  const calls = Array.from({ length: 64 }, () => client.callTool('note', { text }, { timeoutMs: 3_000 }));
  const said = await Promise.allSettled(calls);
  expect(said.every(({ status }) => status === 'rejected')).toBe(true);
  expect(residentBytes(world.gamma.daemon.pid) - beforeBytes).toBeLessThan(256 * MEBIBYTE);
  stuck.resolve();
});

test(
  'the log of the honest side verifies, its own calls elsewhere went on, and its memory is bounded',
  SLOW,
  async () => {
    const tookMs = await bystander.end();
    expect(tookMs.length).toBeGreaterThan(10);
    expect(Math.max(...tookMs)).toBeLessThan(10_000);
    const { gamma } = world;
    const calls = callee.links.flatMap(({ orders }) => orders).length;
    // Of whatever it ordered there is a receipt, of both or its own alone.
    await until('all receipts are in the log', async () => {
      const entries = await world.entries(gamma, ['receipt.kept']);
      return entries.filter(({ entry }) => (entry.data as { readonly peer?: string }).peer === mallory).length >= calls;
    });
    expect(await world.verifyLog(gamma)).toBeGreaterThan(2 * calls);
    const grewBytes = residentBytes(gamma.daemon.pid) - restingBytes;
    expect(grewBytes).toBeLessThan(384 * MEBIBYTE);
    expect((await gamma.mesh.readiness()).ready).toBe(true);
    expect(gamma.daemon.logged()).not.toMatch(/fault of this program|unhandled/i);
  },
);
