/**
 * An act of the story: Gamma's agent works with servers that Acme exposes, by a grant that came by way of Beta. Client,
 * proxy, both daemons and the servers are processes of their own; the files say whether a call got through. What both
 * sides signed is verified by one more process, which knows nothing but a file and a DID.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { Progress } from '@modelcontextprotocol/sdk/types.js';
import { type AgentMesh, type ApprovalView, isMeshError, type ReceiptReport, type ResponseOf } from 'agentmesh/sdk';

const CLI = fileURLToPath(new URL('../../cli/bin.js', import.meta.url));
const FILESYSTEM = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-filesystem/dist/index.js'));
const ARCHIVE = fileURLToPath(new URL('archive-server.ts', import.meta.url));
const WITHIN_MS = 15_000; // for what takes milliseconds when nothing else runs
const ENDED_WITHIN_MS = 2_000; // from the revocation: the other daemon is told, and the call has no longer than this

/** Of the exposure. This server has no tool that deletes: what is moved into `bin` is gone for its users. */
const POLICY = `version: "1.0"
name: acme-reports
default: deny
rules:
  - name: reading
    condition: "tool.name in ['read_text_file', 'list_directory']"
    action: allow
  - name: no-writing
    description: Reports are written at Acme
    condition: "tool.name in ['write_file', 'edit_file']"
    action: deny
  - name: deleting
    condition: "tool.name == 'move_file'"
    action: require_approval
    approvers: ["alice@acme.example"]
`;

interface Side {
  readonly home: string;
  readonly did: string;
  readonly mesh: AgentMesh;
}

export interface Stage {
  readonly acme: Side;
  readonly beta: Side;
  readonly gamma: Side;
  readonly agents: { readonly clerk: string; readonly analyst: string; readonly reader: string };
  readonly folder: string;
  readonly say: (text: string) => void;
  readonly check: (holds: boolean, what: string) => void;
}

type Receipt = ResponseOf<'receiptShow'>;

interface Ended {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

const agentmesh = (...args: readonly string[]): Promise<Ended> =>
  new Promise((resolve) =>
    execFile(process.execPath, [CLI, ...args], (error, out, err) =>
      resolve({ exit: error === null ? 0 : Number(error.code), out, err }),
    ),
  );

/** The first answer that is one. */
async function until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const byMs = performance.now() + WITHIN_MS;
  for (;;) {
    const found = await ask();
    if (found !== undefined) return found;
    if (performance.now() > byMs) throw new Error(`not as it should be: ${what} took more than ${WITHIN_MS} ms`);
    await sleep(20);
  }
}

const textOf = (content: unknown): string => (content as { text: string }[]).map(({ text }) => text).join('\n');

/** An MCP client of Gamma's agent, to whom the server of Acme is as any other. */
async function connect({ gamma, agents }: Stage, server: string): Promise<Client> {
  const client = new Client({ name: 'reader', version: '1.0.0' });
  const proxy = ['proxy', '--home', gamma.home, '--agent', 'reader', '--policy', 'permissive'];
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [CLI, ...proxy, '--peer', agents.clerk, '--server', server],
      stderr: 'ignore',
    }),
  );
  return client;
}

/** As Acme's operator does it. */
async function expose({ acme, folder, check }: Stage, name: string, flags: readonly string[]): Promise<void> {
  const { exit, err } = await agentmesh('expose', '--home', acme.home, '--mcp', name, ...flags);
  check(exit === 0, `Acme exposes "${name}"${exit === 0 ? '' : `: ${err}`}`.replaceAll(folder, '…'));
}

/** From Acme to Beta's agent, and narrower on to Gamma's; the ids of both links. */
async function grant({ acme, beta, gamma, agents }: Stage): Promise<readonly [string, string]> {
  const isKnown = (mesh: AgentMesh, id: string) => async (): Promise<true | undefined> => {
    try {
      await mesh.chains.show(id);
      return true;
    } catch (error) {
      if (isMeshError(error) && (error.code === 'not_found' || error.code === 'broken_link')) return undefined;
      throw error;
    }
  };
  const first = await acme.mesh.delegations.create({
    to: agents.analyst,
    capabilities: [{ can: 'mcp:reports/*' }, { can: 'mcp:archive/*' }],
    ttlSeconds: 3_600,
  });
  await until("Acme's link reaching Beta", isKnown(beta.mesh, first.link.id));
  const tools = ['read_text_file', 'list_directory', 'write_file', 'move_file'].map((tool) => `mcp:reports/${tool}`);
  const second = await beta.mesh.delegations.create({
    as: agents.analyst,
    from: first.link.id,
    to: agents.reader,
    capabilities: [...tools, 'mcp:archive/search_archive'].map((can) => ({ can })),
  });
  await until("Beta's link reaching Gamma", isKnown(gamma.mesh, second.link.id));
  return [first.link.id, second.link.id];
}

/** What waits for Acme, asked by Gamma's agent. */
const waiting = ({ acme, agents }: Stage): Promise<ApprovalView> =>
  until('a call waiting for approval', async () => {
    const pending = await acme.mesh.approvals.list();
    return pending.find(({ agent }) => agent === agents.reader);
  });

async function decide({ acme }: Stage, approval: ApprovalView, decision: 'approve' | 'deny'): Promise<string> {
  const [approver] = approval.mayDecide;
  if (approver === undefined) throw new Error('not as it should be: nobody may decide');
  const reason = decision === 'approve' ? 'the quarter is closed' : 'once was enough';
  return (await acme.mesh.approvals.decide(approval.id, { decision, approver, reason })).state;
}

async function workOnReports(stage: Stage, narrow: string): Promise<void> {
  const { folder, check } = stage;
  const files = join(folder, 'shared');
  const report = join(files, 'q3.txt');
  const client = await connect(stage, 'reports');
  try {
    const call = async (name: string, args: object): Promise<{ isError: boolean; text: string }> => {
      const { isError, content } = await client.callTool({ name, arguments: { ...args } });
      return { isError: isError === true, text: textOf(content) };
    };
    const names = (await client.listTools()).tools.map(({ name }) => name).sort();
    check(
      names.join(' ') === 'list_directory move_file read_text_file',
      `Gamma's agent is shown ${names.length} of its 14 tools: ${names.join(', ')}`,
    );
    const read = await call('read_text_file', { path: report });
    check(!read.isError && read.text.includes('revenue: 12'), 'it reads a report of Acme');

    const edited = await call('edit_file', { path: report, edits: [{ oldText: '12', newText: '1200' }] });
    check(
      edited.isError && edited.text.includes('mcp:reports/edit_file') && edited.text.includes(narrow),
      `an edit is refused, by Beta's link ${narrow.slice(0, 12)}…, which does not grant it`,
    );
    const written = await call('write_file', { path: report, content: 'revenue: 1200\n' });
    check(
      written.isError && written.text.includes('Rule "no-writing" of policy "acme-reports"'),
      'a write, which is granted, is refused by rule "no-writing" of Acme\'s policy',
    );
    check((await readFile(report, 'utf8')) === 'revenue: 12\n', 'and the file is as it was');

    const deletion = { source: report, destination: join(files, 'bin', 'q3.txt') };
    const deleting = call('move_file', deletion);
    const approval = await waiting(stage);
    check(existsSync(report), `a delete is held for approval ${approval.id}, and the file is still there`);
    const state = await decide(stage, approval, 'approve');
    const deleted = await deleting;
    check(
      state === 'approved' && !deleted.isError && !existsSync(report),
      'Alice of Acme approves, and it goes through',
    );
    await writeFile(report, 'revenue: 13\n');
    const repeating = call('move_file', deletion);
    const denied = await decide(stage, await waiting(stage), 'deny');
    const repeated = await repeating;
    check(
      denied === 'denied' && repeated.isError && existsSync(report),
      'once: the same again waits again, and is denied',
    );
  } finally {
    await client.close();
  }
}

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // ESRCH: there is none
  }
};

async function revokeMeanwhile(stage: Stage, root: string): Promise<void> {
  const { acme, gamma, check } = stage;
  const client = await connect(stage, 'archive');
  try {
    const progress = Promise.withResolvers<Progress>();
    const searching = client.callTool({ name: 'search_archive', arguments: { word: 'revenue' } }, undefined, {
      onprogress: progress.resolve,
    });
    const ended = searching.then(
      ({ isError, content }) => ({
        why: isError === true ? textOf(content) : 'it was answered',
        atMs: performance.now(),
      }),
      (error: unknown) => ({ why: String(error), atMs: performance.now() }),
    );
    const { total, message = '' } = await Promise.race([
      progress.promise,
      ended.then((early) => Promise.reject(new Error(`not as it should be: ${early.why}`))),
    ]);
    const pid = Number(/process (\d+)/.exec(message)?.[1]);
    check(isRunning(pid), `a search of ${total} boxes is under way, and says how far it is`);
    const revokedMs = performance.now();
    await acme.mesh.revocations.create({ target: { link: root }, reason: 'the project is over' });
    const { why, atMs } = await ended;
    check(
      why.includes('under way') && why.includes('ended (revoked)') && atMs - revokedMs < ENDED_WITHIN_MS,
      `Acme revokes, and ${Math.round(atMs - revokedMs)} ms later it has ended: ${why}`,
    );
    await until("the end of Acme's server", async () => (isRunning(pid) ? undefined : true));
    check(true, "so does the server's process at Acme");
    for (const { mesh } of [acme, gamma])
      await until('no session being open', async () => ((await mesh.sessions.list()).length === 0 ? true : undefined));
    check(true, 'and the session, on both sides');
  } finally {
    await client.close();
  }
  const again = await agentmesh(
    'call',
    '--home',
    gamma.home,
    stage.agents.clerk,
    'reports',
    'list_directory',
    '--as',
    'reader',
  );
  check(
    again.exit === 3 && again.err.includes('caps_insufficient'),
    'another call is refused: nothing is granted any more',
  );
}

/** By the id that is the hash of what was signed, and by its bytes with both signatures. */
async function compareReceipts({ acme, gamma, agents, check }: Stage): Promise<readonly Receipt[]> {
  const kept = async ({ mesh }: Side, did: string): Promise<Receipt[]> => {
    const ids: string[] = [];
    for await (const { id } of mesh.receipts.list({ did })) ids.push(id);
    const receipts = await Promise.all(ids.map((id) => mesh.receipts.get(id)));
    return receipts.sort((one, other) => one.receipt.startedAt.localeCompare(other.receipt.startedAt));
  };
  const same = await until('both sides having all receipts', async () => {
    const [ours, theirs] = await Promise.all([kept(gamma, agents.clerk), kept(acme, agents.reader)]);
    const byOrder = new Map(theirs.map(({ receipt, statement }) => [receipt.id, statement]));
    const isSame =
      ours.length === theirs.length && ours.every((each) => byOrder.get(each.receipt.id) === each.statement);
    return isSame && ours.length === 6 ? ours : undefined;
  });
  const told = same.map(({ receipt }) => `${receipt.tool} ${receipt.outcome}`);
  check(
    told.join(', ') ===
      'read_text_file ok, edit_file refused, write_file denied, move_file ok, move_file denied, search_archive cancelled',
    `both sides hold the same ${same.length} receipts, byte for byte: ${told.join(', ')}`,
  );
  check(
    same.every(({ receipt }) => !receipt.half),
    'each signed by both, also what was refused and what was cut off',
  );
  return same;
}

/** The file that holds the receipt of the delete, for `verifyReceipt`. */
export async function playCallsBetween(stage: Stage): Promise<string> {
  const { folder, gamma, say, check } = stage;
  const files = join(folder, 'shared');
  await mkdir(join(files, 'bin'), { recursive: true });
  await writeFile(join(files, 'q3.txt'), 'revenue: 12\n');
  const policy = join(folder, 'acme-reports.yaml');
  await writeFile(policy, POLICY);
  const program = ['--', process.execPath];
  await Promise.all([
    expose(stage, 'reports', ['--policy', policy, ...program, FILESYSTEM, files]),
    expose(stage, 'archive', ['--policy', 'permissive', ...program, ARCHIVE]),
  ]);
  const [root, narrow] = await grant(stage);
  check(true, "it grants both to Beta's agent, which hands on less to Gamma's");
  await workOnReports(stage, narrow);
  await revokeMeanwhile(stage, root);
  const receipts = await compareReceipts(stage);
  const deleted = receipts.find(({ receipt }) => receipt.tool === 'move_file' && receipt.outcome === 'ok');
  if (deleted === undefined) throw new Error('not as it should be: no receipt of the delete');
  const file = join(folder, 'delete.receipt');
  await writeFile(file, await gamma.mesh.receipts.file(deleted.receipt.id));
  say(`Gamma keeps the one of the delete in a file: ${deleted.receipt.id}`);
  return file;
}

/** By a process with an empty home, once all daemons have ended. */
export async function verifyReceipt({ acme, beta, folder, check }: Stage, file: string): Promise<void> {
  const verify = async (
    path: string,
    ...roots: readonly string[]
  ): Promise<Ended & { readonly code: string | null }> => {
    const trusted = roots.flatMap((did) => ['--root', did]);
    const ended = await agentmesh('receipt', 'verify', path, ...trusted, '--home', join(folder, 'offline'), '--json');
    return { ...ended, code: (JSON.parse(ended.out) as { code: string | null }).code };
  };
  const receipt = JSON.parse(await readFile(file, 'utf8')) as { receipt: string };
  const statement = Buffer.from(receipt.receipt, 'base64url');
  const last = statement.length - 1; // of a signature
  statement[last] = (statement[last] ?? 0) ^ 1;
  const changed = join(folder, 'changed.receipt');
  await writeFile(changed, JSON.stringify({ ...receipt, receipt: statement.toString('base64url') }));

  const [{ exit, out }, stranger, noticed] = await Promise.all([
    verify(file, acme.did),
    verify(file, beta.did),
    verify(changed, acme.did),
  ]);
  check(exit === 0, 'signatures, whose keys they were, the chain, and an entry of both logs: all of it holds');
  const { tool, outcome, proven, notProven } = (JSON.parse(out) as { report: ReceiptReport }).report;
  check(
    tool?.name === 'move_file' && outcome === 'ok' && proven.length === 4,
    `proven: ${proven.join('; ')}; and not, without the messages: ${notProven.join(', ')}`,
  );
  check(
    stranger.exit === 3 && stranger.code === 'unknown_root',
    'with another organisation to trust it refuses: unknown_root',
  );
  check(noticed.exit === 3 && noticed.code === 'bad_signature', 'and with one bit changed: bad_signature');
}
