/**
 * Which keys may have a row: a counting Bloom filter over digests, for as many as it likes in a bounded memory. What it
 * says is not there is not there; what it says may be there is looked for. L. Fan et al., "Summary Cache", 2000.
 */
import { limits } from '../../../protocol/index.ts';

const COUNTERS_A_KEY = 3;
const FULL = 255; // a counter that came here stays: how many it counts is not known any more

export class KeyFilter {
  readonly #counters: Uint8Array;

  /** `bytes`: a power of two. */
  constructor(bytes: number = limits.CALL_KEY_FILTER_BYTES) {
    this.#counters = new Uint8Array(bytes);
  }

  add(digest: Uint8Array): void {
    for (const at of this.#placesOf(digest)) {
      const count = this.#counters[at] ?? 0;
      if (count < FULL) this.#counters[at] = count + 1;
    }
  }

  /** Of one that was added, once for each time. */
  remove(digest: Uint8Array): void {
    for (const at of this.#placesOf(digest)) {
      const count = this.#counters[at] ?? 0;
      if (count > 0 && count < FULL) this.#counters[at] = count - 1;
    }
  }

  mayHave(digest: Uint8Array): boolean {
    return this.#placesOf(digest).every((at) => (this.#counters[at] ?? 0) > 0);
  }

  #placesOf(digest: Uint8Array): number[] {
    const words = new DataView(digest.buffer, digest.byteOffset, 4 * COUNTERS_A_KEY);
    return Array.from({ length: COUNTERS_A_KEY }, (_, i) => words.getUint32(4 * i) & (this.#counters.length - 1));
  }
}
