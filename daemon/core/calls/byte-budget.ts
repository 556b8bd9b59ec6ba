/** Bytes that several streams may hold together: those of one organisation, or all. */
export class ByteBudget {
  readonly #bytesMax: number;
  #held = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get heldBytes(): number {
    return this.#held;
  }

  isWithin(bytes: number): boolean {
    return this.#held + bytes <= this.#bytesMax;
  }

  hold(bytes: number): void {
    this.#held += bytes;
  }

  release(bytes: number): void {
    this.#held -= bytes;
  }
}

/** False: one of them has no room, and they are held in none. */
export function holdAll(budgets: readonly ByteBudget[], bytes: number): boolean {
  if (!budgets.every((budget) => budget.isWithin(bytes))) return false;
  for (const budget of budgets) budget.hold(bytes);
  return true;
}

export function releaseAll(budgets: readonly ByteBudget[], bytes: number): void {
  for (const budget of budgets) budget.release(bytes);
}
