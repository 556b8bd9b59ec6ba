/** kill -9 of a real daemon while it decides: what it allowed is in its log, limits hold, approvals are used once. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isMeshError } from '../../protocol/index.ts';
import type { Verdict } from '../../protocol/policy/index.ts';
import { type AgentMesh, verifyLogFiles } from '../../sdk/index.ts';
import { seededRandom } from '../random.ts';
import { startDaemonProcess } from './daemon-process.ts';

const ROUNDS = Number(process.env['AGENTMESH_KILL_ROUNDS'] ?? 6);
const LIMIT = 30; // reached after some rounds
const ALLOWED_MAX = 40; // of a round, before it is killed
const seed = Number(process.env['AGENTMESH_SEED'] ?? Date.now() % 1_000_000);
const POLICY = `version: "1.0"
default: deny
rules:
  - { name: reads, condition: "tool.name == 'read'", action: allow }
  - { name: some, condition: "tool.name == 'counted'", action: allow, limit: "${LIMIT}/day" }
  - { name: deletes, condition: "tool.name == 'delete'", action: require_approval }
`;
const GONE: readonly string[] = ['not_running', 'closed', 'internal', 'unreachable', 'cancelled'];
async function untilGone(step: () => Promise<unknown>): Promise<void> {
  try {
    for (;;) await step();
  } catch (error) {
    if (!isMeshError(error) || !GONE.includes(error.code)) throw error;
  }
}

interface Entry {
  readonly id: string;
  readonly index: number;
  readonly tool: unknown;
  readonly approval: unknown;
}
async function allowedOf(mesh: AgentMesh): Promise<Entry[]> {
  const found: Entry[] = [];
  for await (const { entry, index } of mesh.log.entries({ types: ['agentmesh.action.allowed'] })) {
    const { tool, approval } = entry.data as { tool?: unknown; approval?: unknown };
    found.push({ id: String(entry.id), index, tool, approval });
  }
  return found;
}

test(`a daemon killed ${ROUNDS} times while deciding allows nothing that its log does not hold (seed ${seed})`, {
  timeout: 600_000,
}, async () => {
  const random = seededRandom(seed);
  const folder = await mkdtemp(join(tmpdir(), 'agentmesh-decide-kill-'));
  const policy = join(folder, 'acme.yaml');
  await writeFile(policy, POLICY, { mode: 0o600 });
  const env = { AGENTMESH_POLICIES: policy, NODE_COMPILE_CACHE: join(folder, 'compiled') };
  const options = { home: join(folder, 'home'), name: 'Kill', args: ['--log-level', 'error'], env };
  /** Index by id, of what was allowed to somebody who heard it. */
  const allowed = new Map<string, number | null>();
  const counted = new Set<string>();
  let next = 0;
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      await using daemon = await startDaemonProcess(options);
      const mesh = await daemon.connect();
      const held = new Map((await allowedOf(mesh)).map((entry) => [entry.id, entry]));
      for (const [id, index] of allowed) expect(held.get(id)?.index, `round ${round}: entry ${id}`).toBe(index);
      const entries = [...held.values()];
      expect(entries.filter(({ tool }) => tool === 'counted').length).toBeLessThanOrEqual(LIMIT);
      const approvals = entries.flatMap(({ approval }) => approval ?? []);
      expect(new Set(approvals).size).toBe(approvals.length);
      if (round === ROUNDS) {
        expect(counted.size).toBeGreaterThan(LIMIT / 2);
        expect(approvals.length).toBeGreaterThan(ROUNDS / 2);
        expect(allowed.size).toBeGreaterThan(5 * ROUNDS);
        const { treeSize } = (await verifyLogFiles(mesh.log.files())).checkpoint;
        console.log(
          `kill while deciding, seed ${seed}: ${allowed.size} allowed, ${counted.size} of ${LIMIT}, ${approvals.length} approvals, ${treeSize} entries`,
        );
        return;
      }
      const [sponsor] = await mesh.sponsors.list();
      const approver = (sponsor ?? (await mesh.sponsors.create({ contact: 'kill@example.com' }))).did;
      for (const { id } of await mesh.approvals.list()) // what waited when it was killed
        await mesh.approvals.decide(id, { decision: 'deny', approver, reason: 'late' });
      await using gate = await mesh.openGate();
      const decide = async (name: string): Promise<Verdict> => {
        const path = `/${name === 'delete' ? next++ : 0}`;
        return ask(name, path);
      };
      const ask = async (name: string, path: string): Promise<Verdict> => {
        const verdict = await gate.decide({ action: 'tool_call', tool: { name, server: 's', arguments: { path } } });
        if (verdict.effect !== 'allow') return verdict;
        allowed.set(verdict.id ?? '', verdict.index);
        if (name === 'counted') counted.add(verdict.id ?? '');
        if (random() < 0.5) gate.settle(verdict, { code: 'ok' });
        return verdict;
      };
      const remove = async (): Promise<void> => {
        const path = `/${next++}`;
        const { approval } = await ask('delete', path);
        await mesh.approvals.decide(approval?.id ?? '', { decision: 'approve', approver, reason: 'looked' });
        const effects = await Promise.all([1, 2, 3].map(async () => (await ask('delete', path)).effect));
        expect(effects.filter((effect) => effect === 'allow').length).toBeLessThanOrEqual(1);
        const [waiting] = (await mesh.approvals.list()).filter(({ request }) =>
          JSON.stringify(request).includes(`"${path}"`),
        );
        if (waiting !== undefined)
          await mesh.approvals.decide(waiting.id, { decision: 'deny', approver, reason: 'once' });
      };
      const begun = allowed.size;
      const want = random() * ALLOWED_MAX;
      const killed = (async (): Promise<void> => {
        const untilMs = performance.now() + 2_000;
        while (allowed.size - begun < want && performance.now() < untilMs)
          await new Promise((resolve) => setTimeout(resolve, 1));
        await new Promise((resolve) => setTimeout(resolve, random() * 10));
        await daemon.end('SIGKILL');
      })();
      await Promise.all([
        killed,
        ...[1, 2].map(() => untilGone(() => decide('read'))),
        ...[1, 2, 3].map(() => untilGone(() => decide('counted'))),
        ...[1, 2].map(() => untilGone(remove)),
      ]);
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
