/** The witness protocol over libp2p: the handler for peers, and how one asks another's witness. */
import { limits } from '../../../protocol/index.ts';
import { monitoringPath, parseMonitoringPath } from '../../../protocol/log/index.ts';
import type { Logger, Network } from '../../ports.ts';
import { plainAnswer, serveTlog, type TlogAnswer, type TlogAsker, type TlogRequest } from './tlog-stream.ts';
import type { Witness } from './witness.ts';

export const ADD_CHECKPOINT_PATH = 'add-checkpoint';
export const WITNESS_FRAME_BYTES_MAX: number = limits.ADD_CHECKPOINT_BYTES_MAX + limits.TLOG_LINE_BYTES_MAX + 1;

/** Where a witness is asked: a peer, or a URL. Errors of both: unreachable, timeout, cancelled and what streams have. */
export interface WitnessEndpoint {
  addCheckpoint(body: Uint8Array, signal: AbortSignal): Promise<TlogAnswer>;
  /** What it shows of the log of this origin. */
  readCheckpoint(origin: string, signal: AbortSignal): Promise<TlogAnswer>;
}

/** What a witness answers to a request, whatever carries it. `from` is whose budget it takes. Errors: the store's. */
export async function answerWitness(witness: Witness, { path, body }: TlogRequest, from: string): Promise<TlogAnswer> {
  if (path === ADD_CHECKPOINT_PATH) return witness.addCheckpoint(body, from);
  const hash = parseMonitoringPath(path);
  const note = hash === undefined || body.length > 0 ? undefined : await witness.checkpointOf(hash);
  if (note === undefined) return plainAnswer(404, hash === undefined ? 'no such path' : 'never cosigned');
  return { ...plainAnswer(200, ''), body: note };
}

/** Answers bound peers from now on. */
export const serveWitness = (
  { network, log, witness }: { readonly network: Network; readonly log: Logger; readonly witness: Witness },
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> =>
  serveTlog({ network, log, answer: (request, { peer }) => answerWitness(witness, request, peer) }, 'tlog/witness', {
    frameBytesMax: WITNESS_FRAME_BYTES_MAX,
    ...(signal === undefined ? {} : { signal }),
  });

/** The witness of a connected peer. The asker is for `tlog/witness` and takes frames of WITNESS_FRAME_BYTES_MAX. */
export const witnessOfPeer = (asker: TlogAsker, peer: string): WitnessEndpoint => ({
  addCheckpoint: (body, signal) => asker.ask(peer, { path: ADD_CHECKPOINT_PATH, body }, signal),
  readCheckpoint: (origin, signal) => asker.ask(peer, { path: monitoringPath(origin), body: new Uint8Array() }, signal),
});
