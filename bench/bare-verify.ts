/** The yardstick: threads that do nothing but verify signatures, of statements which they have read before. */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { parseStatement, rawKeyOf, signingInput } from '../protocol/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';

interface Signed {
  readonly message: Uint8Array;
  readonly rawKey: Uint8Array;
  readonly signature: Uint8Array;
}

/** Envelopes to read, or to start: with the index of the next signature that no thread has taken, in shared memory. */
type Order = { readonly envelopes: readonly Uint8Array[] } | { readonly next: Int32Array };

const TAKE = 32; // signatures taken at once: about 2 ms

if (!isMainThread) {
  let signed: readonly Signed[] = [];
  parentPort?.on('message', (order: Order) => {
    if ('envelopes' in order) signed = order.envelopes.flatMap(signedOf);
    parentPort?.postMessage('envelopes' in order ? signed.length : verifyShare(signed, order.next));
  });
}

function signedOf(envelope: Uint8Array): Signed[] {
  const { t, payload, payloadBytes, signatures } = parseStatement(envelope);
  const message = signingInput(t, payloadBytes);
  return payload.by.map((key, i) => ({ message, rawKey: rawKeyOf(key), signature: signatures[i] as Uint8Array }));
}

function verifyShare(signed: readonly Signed[], next: Int32Array): number {
  let valid = 0;
  for (let from = Atomics.add(next, 0, TAKE); from < signed.length; from = Atomics.add(next, 0, TAKE)) {
    for (const { message, rawKey, signature } of signed.slice(from, from + TAKE))
      if (isSignatureValidSodium(signature, message, rawKey)) valid += 1;
  }
  return valid;
}

export interface Took {
  readonly wallMs: number;
  /** Of all threads of this process. */
  readonly cpuMs: number;
}

export async function measure(work: () => Promise<unknown>): Promise<Took> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const wallMs = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { wallMs, cpuMs: (user + system) / 1000 };
}

export class BareThreads implements AsyncDisposable {
  readonly #workers: readonly Worker[];

  constructor(count: number) {
    this.#workers = Array.from({ length: count }, () => new Worker(new URL(import.meta.url)));
  }

  /** What the verification of all signatures takes. */
  async verify(envelopes: readonly Uint8Array[]): Promise<Took> {
    const [expected] = await this.#order({ envelopes });
    let valid: number[] = [];
    const took = await measure(async () => {
      valid = await this.#order({ next: new Int32Array(new SharedArrayBuffer(4)) });
    });
    const sum = valid.reduce((before, count) => before + count, 0);
    if (sum !== expected) throw new Error(`Cannot measure: ${sum} of ${expected} signatures are valid`);
    return took;
  }

  async #order(order: Order): Promise<number[]> {
    return Promise.all(
      this.#workers.map(async (worker) => {
        const answer = once(worker, 'message');
        worker.postMessage(order);
        return Number((await answer)[0]);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}
