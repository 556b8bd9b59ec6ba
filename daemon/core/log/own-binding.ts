/** The own `binding/v1` (SPEC "Audit log statements"): without it nobody knows whose log and witness this is. */
import type { MeshState, Statement } from '../../../protocol/index.ts';
import { type BindingSigners, formatVkey, signBinding, type Vkey } from '../../../protocol/log/index.ts';
import type { Clock } from '../../ports.ts';
import type { Pipeline } from '../pipeline.ts';

export interface BindingComponents {
  readonly pipeline: Pick<Pipeline, 'state' | 'submit'>;
  readonly clock: Clock;
  /** Own organisation. */
  readonly did: string;
  readonly signers: BindingSigners;
}

export interface BoundHere {
  readonly log: Vkey;
  readonly witness: Vkey;
  /** Own PeerId. */
  readonly peer: string;
}

/** The binding of exactly these, made if none is held. Errors: as Pipeline.submit. */
export async function ensureBinding(
  { pipeline, clock, did, signers }: BindingComponents,
  { log, witness, peer }: BoundHere,
): Promise<Statement<'binding/v1'>> {
  const held = heldBinding(pipeline.state, did, { log, witness, peer });
  if (held !== undefined) return held;
  const nowSeconds = Math.floor(clock.nowMs() / 1000);
  const binding = signBinding({ iss: did, log, witness, peer, nowSeconds }, signers);
  await pipeline.submit([binding]);
  return binding;
}

function heldBinding(
  state: MeshState,
  did: string,
  { log, witness, peer }: BoundHere,
): Statement<'binding/v1'> | undefined {
  const [logText, witnessText] = [formatVkey(log), formatVkey(witness)];
  return state
    .bindingsOf(did)
    .find(({ payload }) => payload.log === logText && payload.wit === witnessText && payload.peer === peer);
}
