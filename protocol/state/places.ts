import { compareBytes, equalBytes, toHex } from '../encoding/bytes.ts';
import type { Statement } from '../statement/statement.ts';

/** (epoch, id): the order of reconciliation, in which the lowest stays where places are few. */
export const compareStatements = (a: Statement, b: Statement): number =>
  a.epoch - b.epoch || compareBytes(a.digest, b.digest);

/** Puts it where it belongs among others in that order. */
function insertInOrder<S extends Statement>(ordered: S[], statement: S): void {
  ordered.splice(lowerBound(ordered, statement), 0, statement);
}

function lowerBound(ordered: readonly Statement[], statement: Statement): number {
  let [from, to] = [0, ordered.length];
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (compareStatements(ordered[middle] as Statement, statement) < 0) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** The key whose standing decides who yields. */
export interface Signer {
  readonly did: string;
  readonly multikey: Uint8Array;
}

interface Signed<S> {
  readonly signer: Signer;
  readonly statements: S[];
  /** In order from when it is first asked for: most signers never reach the number of places. */
  isOrdered: boolean;
}

/** Statements that share a number of places. */
export class Places<S extends Statement> {
  readonly #bySigner = new Map<string, Signed<S>>();
  /** Whose it was last: most statements of an organisation come from one key. */
  #last: Signed<S> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  *[Symbol.iterator](): Iterator<S> {
    for (const { statements } of this.#bySigner.values()) yield* statements;
  }

  add(statement: S, signer: Signer): void {
    const signed = this.#find(signer);
    if (signed === undefined) {
      this.#last = { signer, statements: [statement], isOrdered: false };
      this.#bySigner.set(nameOf(signer), this.#last);
    } else if (signed.isOrdered) {
      insertInOrder(signed.statements, statement);
    } else {
      signed.statements.push(statement);
    }
    this.#size++;
  }

  delete(statement: S, signer: Signer): void {
    const signed = this.#find(signer);
    if (signed === undefined) return;
    const statements = inOrder(signed);
    const at = lowerBound(statements, statement);
    if (statements[at]?.id !== statement.id) return;
    statements.splice(at, 1);
    this.#size--;
    if (statements.length > 0) return;
    this.#bySigner.delete(nameOf(signer));
    this.#last = undefined;
  }

  /** Who yields if this one comes too: what a key now dead signed, then the highest (epoch, id). */
  yielding(statement: S, signer: Signer, isDead: (signer: Signer) => boolean): S {
    let worst = statement;
    let isWorstDead = isDead(signer);
    for (const signed of this.#bySigner.values()) {
      const last = inOrder(signed).at(-1) as S; // no entry is empty
      const isOtherDead = isDead(signed.signer);
      if (isOtherDead === isWorstDead ? compareStatements(last, worst) > 0 : isOtherDead) worst = last;
      isWorstDead ||= isOtherDead;
    }
    return worst;
  }

  #find(signer: Signer): Signed<S> | undefined {
    const last = this.#last;
    if (last !== undefined && last.signer.did === signer.did && equalBytes(last.signer.multikey, signer.multikey))
      return last;
    const signed = this.#bySigner.get(nameOf(signer));
    if (signed !== undefined) this.#last = signed;
    return signed;
  }
}

const nameOf = ({ did, multikey }: Signer): string => `${did} ${toHex(multikey)}`;

function inOrder<S extends Statement>(signed: Signed<S>): S[] {
  if (!signed.isOrdered) signed.statements.sort(compareStatements);
  signed.isOrdered = true;
  return signed.statements;
}
