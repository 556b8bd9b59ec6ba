/**
 * Registrations: agent genesis statements (two signatures each: the agent's and its organisation's) through the door and
 * durably stored, in process. In turns with it the bare verification of the same signatures by as many threads as there
 * are cores, so that both meet the same machine. Exits 1 below the bar. `node bench/registrations.ts`
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Pipeline } from '../daemon/core/pipeline.ts';
import { openLevelStore } from '../daemon/store/level.ts';
import { createSystemClock } from '../daemon/system.ts';
import { createVerifyPool } from '../daemon/verify-pool.ts';
import { digestOf, MeshState, multikeyOf, RangeIndex, type StatementSigner, signStatement } from '../protocol/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { createOrganisation, type Identity } from '../test/builders.ts';
import { BareThreads, measure, type Took } from './bare-verify.ts';

const FACTOR_MIN = 0.6;
const REFERENCE_PER_SECOND = 10_000; // what the reference system aims at
const ORGANISATIONS = 60;
const AGENTS = 1_000; // of each organisation, within its quota of 1,024
const WARM_UP = 3; // rounds that do not count
const ROUNDS = 12;
const BATCH = 512; // envelopes in one receiveMany: as many as one question of sync asks for
const IN_FLIGHT = 8; // batches at a time, as when several peers are learnt from
const THREADS = availableParallelism();

const now = (): number => Math.floor(Date.now() / 1000);
const bytesOf = (text: string): Uint8Array => digestOf(new TextEncoder().encode(text));
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410, before the 32 bytes of the seed

/** By node:crypto: guarded memory for this many keys is more than a process may map. */
function keyOf(name: string): StatementSigner {
  const der = Buffer.concat([PKCS8_ED25519, bytesOf(name)]);
  const key: KeyObject = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  const raw = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
  return { publicKey: multikeyOf(raw), sign: (message) => sign(null, message, key) };
}

function register(organisation: Identity, name: string): Uint8Array {
  const own = keyOf(name);
  return signStatement<'didop/v1'>(
    {
      t: 'didop/v1',
      op: 'genesis',
      kind: 'agent',
      iat: now(),
      keys: [[own.publicKey, ['auth', 'delegate', 'sign']]],
      nxt: [],
      nthr: 0,
      rec: [],
      rthr: 0,
      peer: [],
      ctl: organisation.did,
      nce: bytesOf(`nonce ${name}`).slice(0, 16),
    },
    [own, organisation.keys.sign],
  ).envelope;
}

const perSecond = (count: number, { wallMs }: Took): number => (1000 * count) / wallMs;
const print = (name: string, ...values: readonly (number | string)[]): void =>
  console.log(
    name.padEnd(12) +
      values.map((value) => (typeof value === 'number' ? `${Math.round(value)}` : value).padStart(16)).join(''),
  );

const organisations = Array.from({ length: ORGANISATIONS }, (_, i) =>
  createOrganisation(`organisation ${i}`, { iat: now() }),
);
// Interleaved, as they come from many organisations; in one buffer, so that this heap stays as a daemon's.
const made = Array.from({ length: ORGANISATIONS * AGENTS }, (_, i) =>
  register(organisations[i % ORGANISATIONS] as Identity, `agent ${i}`),
);
const agents = Buffer.concat(made);
const ends: number[] = [];
for (const envelope of made.splice(0)) ends.push((ends.at(-1) ?? 0) + envelope.length);
/** Bytes of their own, as from a socket. */
const envelopesOf = (from: number, to: number): Uint8Array[] =>
  ends.slice(from, to).map((end, i) => Uint8Array.from(agents.subarray(ends[from + i - 1] ?? 0, end)));

const directory = await mkdtemp(join(tmpdir(), 'agentmesh-registrations-'));
try {
  await using store = await openLevelStore(directory);
  await using pool = createVerifyPool({ threads: THREADS });
  await using bare = new BareThreads(THREADS);
  const clock = createSystemClock();
  const quiet = () => undefined;
  const pipeline = new Pipeline({
    state: new MeshState(),
    index: new RangeIndex(),
    store,
    clock,
    log: { debug: quiet, info: quiet, warn: console.warn, error: console.error },
    isSignatureValid: isSignatureValidSodium,
    checkSignatures: pool,
  });
  const source = { via: 'pulled', peer: 'bench' } as const;
  await pipeline.submit(organisations.map(({ genesis }) => genesis));

  /** Until all are admitted and on disk. */
  async function registerAll(envelopes: readonly Uint8Array[]): Promise<void> {
    let next = 0;
    const feed = async (): Promise<void> => {
      while (next < envelopes.length) {
        const batch = envelopes.slice(next, (next += BATCH));
        const outcomes = await pipeline.receiveMany(batch, source);
        const refused = outcomes.find(({ verdict }) => verdict !== 'accept');
        if (refused !== undefined)
          throw new Error(`Cannot measure: a registration was not accepted: ${JSON.stringify(refused)}`);
        await pipeline.flush();
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, feed));
  }

  const count = Math.floor(ends.length / (WARM_UP + ROUNDS));
  console.log(`${ROUNDS} rounds of ${count} registrations of ${ends[0]} bytes, ${THREADS} cores\n`);
  print('round', 'bare sigs/s', 'door sigs/s', 'factor', 'registrations/s', 'bare CPU us/sig', 'door CPU us/sig');
  const row = (name: string, registrations: number, bare: Took, door: Took): void =>
    print(
      name,
      perSecond(2 * registrations, bare),
      perSecond(2 * registrations, door),
      (bare.wallMs / door.wallMs).toFixed(3),
      perSecond(registrations, door),
      ((1000 * bare.cpuMs) / (2 * registrations)).toFixed(1),
      ((1000 * door.cpuMs) / (2 * registrations)).toFixed(1),
    );
  const took: { readonly bare: Took; readonly door: Took }[] = [];
  for (let round = -WARM_UP; round < ROUNDS; round++) {
    const part = [(WARM_UP + round) * count, (WARM_UP + round + 1) * count] as const;
    const bareTook = await bare.verify(envelopesOf(...part));
    const envelopes = envelopesOf(...part);
    const doorTook = await measure(() => registerAll(envelopes));
    row(round < 0 ? 'warm up' : `${round + 1}`, count, bareTook, doorTook);
    if (round >= 0) took.push({ bare: bareTook, door: doorTook });
  }
  const sum = (which: 'bare' | 'door'): Took => ({
    wallMs: took.reduce((before, { [which]: { wallMs } }) => before + wallMs, 0),
    cpuMs: took.reduce((before, { [which]: { cpuMs } }) => before + cpuMs, 0),
  });
  const doorTook = sum('door');
  row('all', ROUNDS * count, sum('bare'), doorTook);
  const registrations = perSecond(ROUNDS * count, doorTook);
  // The median of rounds: whatever else the machine does comes in bursts.
  const factors = took.map(({ bare, door }) => bare.wallMs / door.wallMs).sort((a, b) => a - b);
  const factor = ((factors[(ROUNDS - 1) >> 1] ?? 0) + (factors[ROUNDS >> 1] ?? 0)) / 2;
  console.log(
    `\nsignatures through the door, against bare verification: ${factor.toFixed(3)} (median), want >= ${FACTOR_MIN}`,
  );
  console.log(
    `registrations/s against the reference's target of ${REFERENCE_PER_SECOND}: ${(registrations / REFERENCE_PER_SECOND).toFixed(2)}`,
  );
  if (factor < FACTOR_MIN) {
    console.error('below the bar');
    process.exitCode = 1;
  }
} finally {
  await rm(directory, { recursive: true });
}
