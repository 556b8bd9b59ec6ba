/**
 * Decisions of a daemon in this process, from the request to the intent on disk, each with its outcome told, beside the
 * least that one could take: a synced put of a row as large as the entry. In turns, medians of the rounds. Reported, no bar.
 * `node bench/decisions.ts [--rounds N] [--of N]`
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Level } from 'level';
import { never, openOwnNode, operator, type OwnNode } from '../test/e2e/own-node.ts';

const POLICY = `version: "1.0"
name: bench
rules:
  - { name: echo, condition: "tool.name == 'echo'", action: allow, limit: "1000000000/hour" }
  - { name: read, condition: "tool.name == 'read'", action: allow }
`;
const ENTRY_BYTES = 1_000; // about what the entry of an allowed call has
const IN_FLIGHT = [1, 8, 64];
const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, of: { type: 'string', default: '400' } },
});
const count = Number(flags.of);

const at = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? Number.NaN;
const median = (values: readonly number[]): number => at(values, 0.5);
const input = <B>(body: B): { params: Record<never, never>; query: Record<never, never>; body: B } => ({
  params: {},
  query: {},
  body,
});

interface Round {
  readonly tookMs: readonly number[];
  readonly perSecond: number;
  readonly cpuUs: number;
}
type Work = () => Promise<unknown>;

async function measure(work: Work, inFlight: number): Promise<Round> {
  const tookMs: number[] = [];
  const total = count * Math.min(inFlight, 8);
  let left = total;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const startMs = performance.now();
      await work();
      tookMs.push(performance.now() - startMs);
    }
  };
  const [cpu, beganMs] = [process.cpuUsage(), performance.now()];
  await Promise.all(Array.from({ length: inFlight }, one));
  const perSecond = (1000 * total) / (performance.now() - beganMs);
  const { user, system } = process.cpuUsage(cpu);
  return { tookMs, perSecond, cpuUs: (user + system) / total };
}

function decider({ api }: OwnNode, as: string, digest: string, name: string): Work {
  const tool = { name, server: 'files', arguments: { message: '0123456789abcdef0123456789abcdef' } };
  const body = { as, policies: [digest], request: { action: 'tool_call', tool } } as const;
  return async () => {
    const { effect, id, reason } = await api.decide(input(body), operator, never);
    if (effect !== 'allow' || id === null) throw new Error(`Cannot measure: ${reason}`);
    await api.decisionSettle(input({ as, outcomes: [{ id, code: 'ok' }] }), operator, never);
  };
}

function print(name: string, rounds: readonly Round[]): void {
  const p = (share: number): string => median(rounds.map(({ tookMs }) => at(tookMs, share))).toFixed(3);
  const perSecond = median(rounds.map((round) => round.perSecond)).toFixed(0);
  const cpu = median(rounds.map(({ cpuUs }) => cpuUs)).toFixed(0);
  console.log(
    `  ${name.padEnd(22)} p10 ${p(0.1)} ms  p50 ${p(0.5)} ms  p99 ${p(0.99)} ms  ${perSecond.padStart(6)}/s  CPU ${cpu} us`,
  );
}

const folder = await mkdtemp(join(tmpdir(), 'agentmesh-bench-'));
try {
  await using own = await openOwnNode({ home: join(folder, 'own'), name: 'Bench' });
  const made = { name: 'bench', sponsor: 'a@example.com', capabilities: [{ can: 'call:tools' }] };
  const { did } = (await own.api.agentCreate(input(made), operator, never)).agent;
  const files = [{ path: 'bench.yaml', text: POLICY }];
  const { digest } = (await own.api.policyLoad(input({ name: 'bench', files }), operator, never)).policy;
  const database = new Level<Uint8Array, Uint8Array>(join(folder, 'puts'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
  });
  const sides: readonly (readonly [string, Work])[] = [
    ['synced put', () => database.put(randomBytes(16), randomBytes(ENTRY_BYTES), { sync: true })],
    ['decide', decider(own, did, digest, 'read')],
    ['decide, with a limit', decider(own, did, digest, 'echo')],
  ];
  for (const inFlight of IN_FLIGHT) {
    const results = new Map<string, Round[]>(sides.map(([name]) => [name, []]));
    for (let round = -1; round < Number(flags.rounds); round++)
      for (const [name, work] of sides) {
        const result = await measure(work, inFlight);
        if (round >= 0) results.get(name)?.push(result);
      }
    console.log(`${inFlight} in flight`);
    for (const [name, rounds] of results) print(name, rounds);
  }
  await database.close();
} finally {
  await rm(folder, { recursive: true, force: true });
}
