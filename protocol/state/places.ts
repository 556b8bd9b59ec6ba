import { compareBytes } from '../encoding/bytes.ts';
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
  /** toHex(multikey) */
  readonly key: string;
}

interface Signed<S> {
  readonly signer: Signer;
  readonly statements: S[];
}

/** Statements that share a number of places; each signer's are in order. */
export class Places<S extends Statement> {
  readonly #bySigner = new Map<string, Signed<S>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  *[Symbol.iterator](): Iterator<S> {
    for (const { statements } of this.#bySigner.values()) yield* statements;
  }

  add(statement: S, signer: Signer): void {
    const key = `${signer.did} ${signer.key}`;
    const signed = this.#bySigner.get(key);
    if (signed === undefined) this.#bySigner.set(key, { signer, statements: [statement] });
    else insertInOrder(signed.statements, statement);
    this.#size++;
  }

  delete(statement: S, signer: Signer): void {
    const key = `${signer.did} ${signer.key}`;
    const statements = this.#bySigner.get(key)?.statements ?? [];
    const at = lowerBound(statements, statement);
    if (statements[at]?.id !== statement.id) return;
    statements.splice(at, 1);
    if (statements.length === 0) this.#bySigner.delete(key);
    this.#size--;
  }

  /** Who yields if this one comes too: what a key now dead signed, then the highest (epoch, id). */
  yielding(statement: S, signer: Signer, isDead: (signer: Signer) => boolean): S {
    let worst = statement;
    let isWorstDead = isDead(signer);
    for (const { signer: other, statements } of this.#bySigner.values()) {
      const last = statements.at(-1) as S; // no entry is empty
      const isOtherDead = isDead(other);
      if (isOtherDead === isWorstDead ? compareStatements(last, worst) > 0 : isOtherDead) worst = last;
      isWorstDead ||= isOtherDead;
    }
    return worst;
  }
}
