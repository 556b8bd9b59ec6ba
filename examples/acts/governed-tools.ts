/**
 * An act of the story: Acme's own agent works on a real filesystem server, and the proxy stands between. The client, the
 * proxy and the server are processes of their own; the files say whether a call got through.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { AgentMesh, LogEntryView } from 'agentmesh/sdk';

const CLI = fileURLToPath(new URL('../../cli/bin.js', import.meta.url));
const SERVER = fileURLToPath(import.meta.resolve('@modelcontextprotocol/server-filesystem/dist/index.js'));

/** This server has no tool that deletes: what is moved into `bin` is gone for its users. */
const POLICY = `version: "1.0"
name: acme-files
default: deny
rules:
  - name: reading
    condition: "tool.name in ['read_text_file', 'list_directory']"
    action: allow
  - name: no-writing
    description: Reports are written by people
    condition: "tool.name in ['write_file', 'edit_file']"
    action: deny
  - name: deleting
    condition: "tool.name == 'move_file'"
    action: require_approval
    approvers: ["alice@acme.example"]
`;

export interface Stage {
  readonly home: string;
  readonly mesh: AgentMesh;
  /** Name and DID of the agent, and the person who answers for it. */
  readonly agent: { readonly name: string; readonly did: string };
  readonly folder: string;
  readonly say: (text: string) => void;
  readonly check: (holds: boolean, what: string) => void;
}

interface Answer {
  readonly isError: boolean;
  readonly text: string;
}

export async function playGovernedTools({ home, mesh, agent, folder, say, check }: Stage): Promise<void> {
  const files = join(folder, 'reports');
  const policy = join(folder, 'acme-files.yaml');
  await mkdir(join(files, 'bin'), { recursive: true });
  await writeFile(join(files, 'q3.txt'), 'revenue: 12\n');
  await writeFile(policy, POLICY);

  const client = new Client({ name: 'clerk', version: '1.0.0' });
  const proxy = ['proxy', '--home', home, '--agent', agent.name, '--policy', policy, '--approval-wait', '0'];
  await client.connect(
    new StdioClientTransport({
      command: process.execPath,
      args: [CLI, ...proxy, '--server', 'filesystem', '--', process.execPath, SERVER, files],
      stderr: 'ignore',
    }),
  );
  try {
    const call = async (name: string, args: Record<string, string>): Promise<Answer> => {
      const { isError, content } = await client.callTool({ name, arguments: args });
      return { isError: isError === true, text: (content as { text: string }[]).map(({ text }) => text).join('\n') };
    };
    const names = (await client.listTools()).tools.map(({ name }) => name).sort();
    check(
      names.join(' ') === 'list_directory move_file read_text_file',
      `of its 14 tools the agent is shown ${names.length}: ${names.join(', ')}`,
    );

    const read = await call('read_text_file', { path: join(files, 'q3.txt') });
    check(!read.isError && read.text.includes('revenue: 12'), 'it reads a report');

    const written = await call('write_file', { path: join(files, 'q3.txt'), content: 'revenue: 1200\n' });
    check(written.isError && written.text.includes('no-writing'), 'a write is refused, by rule "no-writing"');
    check((await readFile(join(files, 'q3.txt'), 'utf8')) === 'revenue: 12\n', 'and the file is as it was');

    const deletion = { source: join(files, 'q3.txt'), destination: join(files, 'bin', 'q3.txt') };
    const waiting = await call('move_file', deletion);
    const [approval] = await mesh.approvals.list();
    check(
      waiting.isError && approval !== undefined && waiting.text.includes(approval.id),
      `a delete waits for approval ${approval?.id} of ${approval?.approvers.join(', ')}`,
    );
    const [alice] = approval?.mayDecide ?? [];
    if (approval === undefined || alice === undefined) throw new Error('not as it should be: nobody may approve');
    check(existsSync(deletion.source), 'and the file is still there');
    const reason = 'the quarter is closed';
    const { state } = await mesh.approvals.decide(approval.id, { decision: 'approve', approver: alice, reason });
    check(state === 'approved', 'Alice approves exactly that call, by her signature');
    const deleted = await call('move_file', deletion);
    check(!deleted.isError && !existsSync(deletion.source), 'asked again, it goes through, once');
    await writeFile(deletion.source, 'revenue: 13\n');
    check((await call('move_file', deletion)).isError && existsSync(deletion.source), 'a second time it waits again');
  } finally {
    await client.close();
  }

  const told = new Map<string, string>();
  for await (const { index, entry } of mesh.log.entries({ actor: agent.did, order: 'oldest' })) {
    const { type, data } = entry as { type: string; data: Readonly<Record<string, unknown>> };
    if (type.startsWith('agentmesh.action.') && typeof data['tool'] === 'string')
      told.set(`${data['tool']} ${typeof data['code'] === 'string' ? data['code'] : 'allowed'}`, `entry ${index}`);
  }
  for (const what of ['write_file policy_denied', 'move_file approval_pending', 'move_file allowed'])
    check(told.has(what), `Acme's log has it: ${what} (${told.get(what)})`);
  const decided: LogEntryView[] = [];
  for await (const entry of mesh.log.entries({ types: ['agentmesh.approval.decided'] })) decided.push(entry);
  check(decided.length > 0, `and who approved: entry ${decided[0]?.index}`);
  say('what the agent was shown and given is decided at each call, and on disk in the log before the server sees it');
}
