/** Whose key signs entries: an agent's own where the daemon holds its credential, else the organisation's. */
import { fromHex, MeshError, type MeshState } from '../../../protocol/index.ts';
import type { Signer } from '../../ports.ts';
import type { HeldCredential } from '../agents.ts';
import type { OwnSigners } from '../own-signers.ts';
import type { EntryActors } from './recorder.ts';

export interface EntryActorsComponents {
  readonly organisation: string;
  readonly state: Pick<MeshState, 'didState'>;
  readonly signers: Pick<OwnSigners, 'find'>;
  /** Of an own agent, while it is in force. */
  readonly credential: (did: string) => HeldCredential | undefined;
  /** Of an own agent. */
  readonly sponsor: (did: string) => string | undefined;
}

export function createEntryActors({
  organisation,
  state,
  signers,
  credential,
  sponsor,
}: EntryActorsComponents): EntryActors {
  return {
    signer: (actor) => credential(actor)?.signer ?? organisationSigner(),
    principal: sponsor,
  };

  function organisationSigner(): Signer {
    const held = state.didState(organisation);
    for (const [key, uses] of held?.keys ?? []) {
      const signer = uses.includes('sign') ? signers.find(key) : undefined;
      if (signer !== undefined) return signer;
    }
    // A deactivated organisation lists none, and its daemon still says what it does: a key ever listed is in the log.
    for (const [key, { uses }] of held?.listed ?? []) {
      const signer = uses.includes('sign') ? signers.find(fromHex(key) ?? new Uint8Array()) : undefined;
      if (signer !== undefined) return signer;
    }
    throw new MeshError(
      'key_missing',
      `Cannot record for "${organisation}": no key that it ever listed to sign is held here`,
      { did: organisation },
    );
  }
}
