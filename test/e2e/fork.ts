/** A participant of a mesh of real daemons who shows one half of them another history than the other half. */
import { fromBase64url, isOfKind, parseStatement, type Statement, verifySignatures } from '../../protocol/index.ts';
import { createForkProof, evaluateFork, formatVkey, parseVkey } from '../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import { type ErrorCode, isMeshError } from '../../sdk/index.ts';
import { forkOf, type Shown } from '../daemon/core/log/monitor-world.ts';
import { until } from './daemon-process.ts';
import type { ForkMesh, Member, Participant } from './fork-mesh.ts';

export interface ForkCase {
  readonly name: string;
  /** Of the two histories, and how many entries they share. */
  readonly sizes: readonly [number, number];
  readonly shared: number;
  /** Whether the first half has heard of its history for long when the second one hears of the other. */
  readonly isInTurn: boolean;
}

export interface ForkReport {
  readonly forker: Participant;
  /** Of the submissions to either half; a code, where the daemon had convicted by then and ended the connection. */
  readonly statuses: readonly [readonly (number | ErrorCode)[], readonly (number | ErrorCode)[]];
  /**
   * From the first daemon's having the second history, by its answer (where none answered, from when it was sent), to each
   * conviction; milliseconds, sorted.
   */
  readonly convictedMs: readonly number[];
  /** The same from when the second history left its owner. */
  readonly sentMs: readonly number[];
}

const SETTLED_MS = 3_000; // gossip of a checkpoint waits two seconds at most
const CONVICTED_MS = 20_000;

/** Shows it, and waits until every daemon has said that it convicted. */
export async function showTwoHistories(
  mesh: ForkMesh,
  { name, sizes, shared, isInTurn }: ForkCase,
): Promise<ForkReport> {
  const forker = await mesh.join(name, { shows: () => undefined });
  const { left, right } = forkOf(sizes, shared);
  const one: Shown = { history: left, released: await forker.log.sign(left) };
  const other: Shown = { history: right, released: await forker.log.sign(right) };
  const firsts = mesh.members.filter((_, i) => i % 2 === 0);
  const seconds = mesh.members.filter((_, i) => i % 2 === 1);
  const firstPeers = new Set(firsts.map(({ process }) => process.peerId));
  forker.shows = (peer) => (firstPeers.has(peer) ? one : other);
  const submitAll = (
    to: readonly Member[],
    { released }: Shown,
    answered: (status: number | ErrorCode) => void,
  ): Promise<(number | ErrorCode)[]> =>
    Promise.all(
      to.map(async (member) => {
        const status = await mesh.submit(forker, member, released);
        answered(status);
        return status;
      }),
    );
  const first = submitAll(firsts, one, () => {});
  if (isInTurn) {
    await first;
    await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
  }
  const sentMs = performance.now();
  let reachedMs: number | undefined;
  const second = submitAll(seconds, other, (status) => {
    if (status === 200) reachedMs ??= performance.now();
  });
  const statuses = [await first, await second] as const;
  const at = (member: Member): number | undefined =>
    member.events.find(({ event }) => event.type === 'conviction.made' && event.data.did === forker.did)?.atMs;
  await until('all have convicted', async () => mesh.members.every((member) => at(member) !== undefined), CONVICTED_MS);
  const convicted = mesh.members.map((member) => at(member) ?? Number.NaN).sort((a, b) => a - b);
  return {
    forker,
    statuses,
    convictedMs: convicted.map((ms) => ms - (reachedMs ?? sentMs)),
    sentMs: convicted.map((ms) => ms - sentMs),
  };
}

/** What the daemon holds against the forker, checked from its bytes alone; throws what is wrong with it. */
export async function verifyProofs({ mesh, name }: Member, { did, log }: Participant): Promise<void> {
  const { conviction, proofs } = await mesh.convictions.show(did);
  if (!conviction.inForce || proofs.length === 0) throw new Error(`${name} holds nothing in force`);
  for (const { id, of, who, a, b, rootOfAOnB, proof, binding, ...keys } of proofs) {
    const vkey = parseVkey(keys[of] ?? '');
    const notes = { a: bytesOf(a), b: bytesOf(b) };
    const evidence = {
      vkey,
      ...notes,
      rootOfAOnB: bytesOf(rootOfAOnB),
      proof: proof.map(bytesOf),
    };
    const verdict = evaluateFork(evidence, isSignatureValidSodium);
    if (!verdict.proven) throw new Error(`${name} holds a proof of nothing: ${verdict.reason}`);
    if (of !== 'log' || who !== did || formatVkey(vkey) !== formatVkey(log.vkey))
      throw new Error(`${name} accuses ${who}`);
    const statement = createForkProof({ of, who, ...evidence, binding: bindingOf(binding) });
    verifySignatures(statement, isSignatureValidSodium);
    if (statement.id !== id) throw new Error(`${name} names another proof than it holds`);
  }
}

function bytesOf(text: string): Uint8Array {
  const bytes = fromBase64url(text);
  if (bytes === undefined) throw new Error(`"${text}" is no base64url`);
  return bytes;
}

function bindingOf(text: string): Statement<'binding/v1'> {
  const statement = parseStatement(bytesOf(text));
  if (!isOfKind(statement, 'binding/v1')) throw new Error(`a proof holds a ${statement.t} in place of a binding`);
  return statement;
}

/** How the daemon answers whom it has convicted: to his greeting, and to a human who wants a session with him. */
export async function refusalsOf(mesh: ForkMesh, member: Member, forker: Participant): Promise<string[]> {
  const operations = forker.state.operationsOf(forker.did).map(({ envelope }) => envelope);
  const [kind, answer] = await mesh.ask(forker, member, ['hello', forker.did, operations]);
  const peers = await member.mesh.peers.list();
  const shaken = await member.mesh.handshake({ did: forker.did }).then(
    () => 'accepted',
    (error: unknown) => (isMeshError(error) ? error.code : String(error)),
  );
  const known = peers.some(({ did }) => did === forker.did) ? 'bound' : 'not bound';
  return [kind === 'no' ? String(answer) : kind, shaken, known];
}
