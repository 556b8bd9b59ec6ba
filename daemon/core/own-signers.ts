import { type DidState, type KeyUse, MeshError, multikeyText, toHex } from '../../protocol/index.ts';
import type { Keys, Signer } from '../ports.ts';

/** Finds the private key that belongs to a public one: a DID's log says which key counts now, the ring holds it. */
export class OwnSigners {
  readonly #keys: Keys;
  readonly #names = new Map<string, string>();

  constructor(keys: Keys) {
    this.#keys = keys;
    for (const name of keys.names()) this.#names.set(toHex(keys.signer(name).publicKey), name);
  }

  async create(name: string): Promise<Signer> {
    const signer = await this.#keys.create(name);
    this.#names.set(toHex(signer.publicKey), name);
    return signer;
  }

  /** By name, made if missing: for keys whose making may have been cut off by a crash. */
  async obtain(name: string): Promise<Signer> {
    return this.#keys.has(name) ? this.#keys.signer(name) : this.create(name);
  }

  find(publicKey: Uint8Array): Signer | undefined {
    const name = this.#names.get(toHex(publicKey));
    return name === undefined ? undefined : this.#keys.signer(name);
  }

  names(): readonly string[] {
    return this.#keys.names();
  }

  /** Errors: key_missing. */
  byName(name: string): Signer {
    return this.#keys.signer(name);
  }

  /** A key that the DID lists for this use now and that is held here. Errors: key_missing, did_unknown. */
  signerFor(state: DidState | undefined, did: string, use: KeyUse): Signer {
    if (state === undefined)
      throw new MeshError('did_unknown', `Cannot sign for "${did}": its log is not held`, { did });
    for (const [key, uses] of state.keys) {
      if (!uses.includes(use)) continue;
      const signer = this.find(key);
      if (signer !== undefined) return signer;
    }
    const listed = state.keys.filter(([, uses]) => uses.includes(use)).map(([key]) => multikeyText(key));
    throw new MeshError(
      'key_missing',
      `Cannot sign for "${did}": no key of use "${use}" is held here, want one of "${listed.join('", "')}"`,
      { did },
    );
  }
}
