/**
 * Which ids of entries are used. Ids carry the time of their making, so nearly every new one is greater than all before
 * the last few thousand: only of the others does the database have to be asked.
 */
const IDS_MAX = 4_096; // of each of two sets, about 100 bytes an id

/** Compares as the 16 bytes do. */
export type IdText = string;

/** Of exactly 16 bytes. */
export function idText(id16: Uint8Array): IdText {
  const unit = (at: number): number => ((id16[at] as number) << 8) | (id16[at + 1] as number);
  return String.fromCharCode(unit(0), unit(2), unit(4), unit(6), unit(8), unit(10), unit(12), unit(14));
}

const UNKNOWN: IdText = '\uffff'.repeat(8);

const max = (a: IdText, b: IdText): IdText => (a > b ? a : b);

export class RecentIds {
  /** No id above is used, but those in the two sets. */
  #floor: IdText;
  #before = new Set<IdText>();
  #beforeMax: IdText = '';
  #newest = new Set<IdText>();
  #newestMax: IdText = '';

  /** `idMax`: no greater id is used; undefined: the database has to be asked of each. */
  constructor(idMax: Uint8Array | undefined) {
    this.#floor = idMax === undefined ? UNKNOWN : idText(idMax);
  }

  /** Whether one that is not in the sets may be in the database all the same. */
  isOld(id: IdText): boolean {
    return id <= this.#floor;
  }

  /** False: it is in the sets already. */
  add(id: IdText): boolean {
    if (this.#newest.size >= IDS_MAX) this.#turn();
    const { size } = this.#newest;
    // The older set is asked only about what it may hold: ids grow.
    if ((id <= this.#beforeMax && this.#before.has(id)) || this.#newest.add(id).size === size) return false;
    this.#newestMax = max(this.#newestMax, id);
    return true;
  }

  #turn(): void {
    this.#floor = max(this.#floor, this.#beforeMax);
    this.#before = this.#newest;
    this.#beforeMax = this.#newestMax;
    this.#newest = new Set();
    this.#newestMax = '';
  }

  /** For one whose entry was not taken after all. */
  remove(id: IdText): void {
    this.#newest.delete(id);
    this.#before.delete(id);
  }
}
