import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AgentIdentity, AgentMesh } from '../../sdk/index.ts';
import { FakeLinks, PEER } from '../daemon/control/fake-links.ts';
import { RECEIPT, serveFake } from '../daemon/control/fake-server.ts';
import { startServer, type Started } from '../daemon/control/start.ts';
import { repositoryRoot } from '../house/architecture.ts';

const run = promisify(execFile);
let started: Started;
beforeEach(async () => {
  const links = new FakeLinks();
  links.onMessage = serveFake;
  started = await startServer({ links: links.open });
});
afterEach(() => started[Symbol.asyncDispose]());

const example = async (name: string, ...args: string[]): Promise<string> => {
  const env = { PATH: process.env.PATH, AGENTMESH_SOCKET: started.socketPath };
  const { stdout } = await run(process.execPath, ['-C', 'agentmesh-source', `examples/${name}.ts`, ...args], {
    cwd: repositoryRoot,
    env,
  });
  return stdout;
};

test('examples/seed-identity.ts makes, delegates, verifies, is refused more, and revokes', async () => {
  const said = await example('seed-identity');
  expect(said).toMatch(
    /^data-analyst-agent is did:mesh:\w+\nsummarizer-subagent is did:mesh:\w+\nIts chain of 2 links was verified here: encoding, /,
  );
  expect(said).toContain('MeshError: Cannot delegate "admin:all"');
  const agents = await (await AgentMesh.connect({ socket: started.socketPath, token: null })).agents.list();
  expect(agents.map(({ name, status }) => [name, status])).toEqual([
    ['data-analyst-agent', 'revoked'],
    ['summarizer-subagent', 'revoked'],
  ]);
});

test('examples/seed-bridge.ts is refused 700 and given 300, with where that comes from', async () => {
  const mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  const { did } = await AgentIdentity.create({
    name: 'peer',
    sponsor: 'bob@company.com',
    capabilities: ['read:data'],
    mesh,
  });
  expect(await example('seed-bridge', did)).toBe(
    `Refused: score_below, the score is 300, want 700\nVerified: ${did} of ${started.fake.organisation.did}\nScore 300 (neutral default: no evidence exists yet), checked binding, freshness\n`,
  );
});

test('examples/govern.ts sends what its policy lets through, and reads why not', async () => {
  const mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  await AgentIdentity.create({ name: 'clerk', sponsor: 'alice@company.com', capabilities: ['read:data'], mesh });
  const [sent, refused, ...rest] = (await example('govern', 'clerk')).split('\n');
  expect(sent).toBe('Sent 11 letters to finance; questions go to [redacted: pii.email]');
  expect(refused).toContain('Rule "no-personal-data" of policy "reports" denies it: Reports hold no personal data');
  expect(rest).toEqual(['']);
});

test('examples/call-tool.ts calls, leaves a message, and says why a call was refused', async () => {
  const mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  const { did } = await AgentIdentity.create({
    name: 'reader',
    sponsor: 'carol@company.com',
    capabilities: ['read:data'],
    mesh,
  });
  expect(await example('call-tool', did, PEER.did, 'files', 'echo', '{"text":"revenue: 12"}')).toBe(
    `revenue: 12\nReceipt ${RECEIPT}: ok\nMessage waiting\n`,
  );
  expect(await example('call-tool', did, PEER.did, 'files', 'denied')).toMatch(
    /^Not done, or not known: policy_denied, .*\nMessage waiting\n$/,
  );
});
