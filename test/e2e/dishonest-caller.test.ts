import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { CallerLink } from '../../daemon/core/calls/caller.ts';
import type { AgentMesh } from '../../sdk/index.ts';
import { type DaemonProcess, startDaemonProcess, until } from './daemon-process.ts';
import { type DishonestPeer, nameOf, openDishonestPeer, type Tap, type TappedStream } from './dishonest-peer.ts';
import { never, operator } from './own-node.ts';

const DIARY = fileURLToPath(new URL('./diary-server.ts', import.meta.url));
const CAN = [{ can: 'mcp:diary/*' }];
const RUNS_MS = 60_000;

let folder: string;
let diary: string;
let acme: DaemonProcess;
let mesh: AgentMesh;
let beta: DishonestPeer;
let reader: string;
/** What the peer does now. */
let tap: Tap = {};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'agentmesh-dishonest-'));
  diary = join(folder, 'diary');
  acme = await startDaemonProcess({ home: join(folder, 'acme'), name: 'Acme' });
  mesh = await acme.connect();
  await mesh.sponsors.create({ contact: 'ann@acme.example' });
  const command = [process.execPath, DIARY, '--diary', diary];
  await mesh.exposed.add({ name: 'diary', command, cwd: folder, policy: 'permissive' });
  beta = await openDishonestPeer({
    home: join(folder, 'beta'),
    name: 'Beta',
    bootstrap: [acme.address],
    tap: {
      sending: (frame, stream) => tap.sending?.(frame, stream) ?? [frame],
      receiving: (frame, stream) => tap.receiving?.(frame, stream) ?? [frame],
    },
  });
  await until('they meet', async () => (await mesh.status()).peers.bound === 1);
  const body = { name: 'reader', sponsor: 'bob@beta.example', capabilities: CAN };
  reader = (await beta.api.agentCreate({ params: {}, query: {}, body }, operator, never)).agent.did;
  const grant = (await mesh.delegations.create({ to: reader, capabilities: CAN })).link.id;
  await until('the grant', async () => beta.node.state.link(grant) !== undefined);
}, RUNS_MS);

afterAll(async () => {
  await beta?.[Symbol.asyncDispose]();
  await acme?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  tap = {};
  await rm(diary, { force: true });
  await appendFile(diary, '');
});

interface Client {
  readonly link: CallerLink;
  readonly lines: { readonly id?: number; readonly result?: object; readonly error?: object }[];
  readonly ends: string[];
  send(message: object): void;
}

async function open(): Promise<Client> {
  const lines: Client['lines'] = [];
  const ends: string[] = [];
  const policy = { name: 'all', files: [{ path: 'all.yaml', text: 'version: "1.0"\nname: all\ndefault: allow\n' }] };
  const { digest } = (await beta.api.policyLoad({ params: {}, query: {}, body: policy }, operator, never)).policy;
  const link = await beta.node.calls.caller.openLink(
    { did: acme.did, server: 'diary', as: reader, policies: [digest] },
    {
      line: (bytes) => lines.push(JSON.parse(new TextDecoder().decode(bytes)) as Client['lines'][number]),
      control: () => {},
      ended: (code) => ends.push(code),
    },
    never,
  );
  const send = (message: object): void => {
    link.fromClient(new TextEncoder().encode(JSON.stringify({ jsonrpc: '2.0', ...message })));
  };
  const params = { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'beta', version: '1' } };
  send({ id: 0, method: 'initialize', params });
  await until('initialize is answered', async () => lines.some(({ id }) => id === 0));
  send({ method: 'notifications/initialized' });
  return { link, lines, ends, send };
}

/** What must not happen has this long to happen. */
const pass = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 500));
/** The last frame of this name that went out, and on which stream. */
function sentLast(name: string): [TappedStream, Uint8Array] {
  for (const stream of beta.streams.toReversed()) {
    const frame = stream.sent.findLast((each) => nameOf(each) === name);
    if (frame !== undefined) return [stream, frame];
  }
  throw new Error(`no "${name}" went out`);
}
const note = (client: Client, id: number, text: string): void =>
  client.send({ id, method: 'tools/call', params: { name: 'note', arguments: { text } } });
const answered = (client: Client, id: number): Promise<void> =>
  until(`call ${id} is over`, async () => client.ends.length > 0 || client.lines.some((line) => line.id === id));
const timesDone = async (text: string): Promise<number> => (await readFile(diary, 'utf8')).split(text).length - 1;
/** Tool calls of the peer's agent that Acme let go ahead. */
const allowedAtAcme = async (): Promise<number> => {
  let count = 0;
  for await (const { entry } of mesh.log.entries({ types: ['agentmesh.action.allowed'] })) {
    const { peer, action } = entry.data as { readonly peer?: string; readonly action?: string };
    if (peer === reader && action === 'tool_call') count += 1;
  }
  return count;
};

test(
  'an honest call through the harness is done once, with a receipt of both',
  async () => {
    const client = await open();
    note(client, 1, 'plain');
    await answered(client, 1);
    expect(client.lines.find(({ id }) => id === 1)?.result).toBeDefined();
    expect(await timesDone('plain')).toBe(1);
    await client.link.close();
  },
  RUNS_MS,
);

test(
  'a call frame that is sent twice at once ends the link, and is done at most once',
  async () => {
    tap = { sending: (frame) => (nameOf(frame) === 'call' ? [frame, frame] : [frame]) };
    const client = await open();
    note(client, 1, 'doubled');
    await until('the link is over', async () => client.ends.length > 0);
    expect(client.ends).toEqual(['replay']);
    await pass();
    expect(await timesDone('doubled')).toBeLessThanOrEqual(1);
  },
  RUNS_MS,
);

test(
  'a call frame that is replayed, in its link or in another, is refused and runs nothing; others are served on',
  async () => {
    const before = await allowedAtAcme();
    const client = await open();
    note(client, 1, 'replayed');
    await answered(client, 1);
    const [first, frame] = sentLast('call');
    await first.inject(frame);
    const again = await open();
    note(again, 2, 'honest');
    await answered(again, 2);
    const [second] = sentLast('call');
    await second.inject(frame);
    await pass();
    expect([client.ends, again.ends]).toEqual([['replay'], ['replay']]);
    const last = await open();
    note(last, 3, 'after all');
    await answered(last, 3);
    expect([await timesDone('replayed'), await timesDone('honest'), await timesDone('after all')]).toEqual([1, 1, 1]);
    expect((await allowedAtAcme()) - before).toBe(3);
    for (const { link } of [client, again, last]) await link.close();
  },
  RUNS_MS,
);
