/**
 * Signatures of many statements over worker threads. The threads start with the first bulk and keep the process alive
 * only while they owe a verdict.
 */
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { isMeshError, MeshError, type Statement, verifySignatures } from '../protocol/index.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import type { CheckSignatures } from './core/pipeline.ts';
import type { Logger } from './ports.ts';
import { isPackable, isSignaturesAlone, packJob } from './verify-job.ts';

export interface VerifyPoolComponents {
  readonly log?: Logger;
  /** In place of daemon/verify-worker: for tests of what happens when one dies. */
  readonly createWorker?: () => Worker;
}

export interface VerifyPoolOptions {
  /** Worker threads; with 0 the calling thread verifies. As many as cores: the kernel shares them with the caller. */
  readonly threads: number;
}

export interface VerifyPool extends CheckSignatures, AsyncDisposable {
  /** Finishes what was asked, then ends the threads. */
  close(): Promise<void>;
}

const JOB_STATEMENTS_MAX = 64; // about 5 ms of work, in which what it costs to hand over is lost
const JOB_STATEMENTS_MIN = 8; // below, handing over costs as much as it saves
const JOBS_A_WORKER = 2; // one under way and the next at hand, so that no thread waits for this one's event loop
const QUEUE_JOBS_MAX = 256; // 16,384 statements, about 10 MB; beyond, the caller's thread does its own
const CRASHES_MAX = 8; // a thread that dies is replaced; after so many, something is wrong that new ones do not cure
const TURN = 16; // statements verified on the calling thread before other work gets a turn: about 1 ms

/** `.ts` in the checkout, `.js` in the published build. */
const workerUrl = (): URL =>
  new URL(import.meta.url.endsWith('.ts') ? './verify-worker.ts' : './verify-worker.js', import.meta.url);

interface Job {
  readonly statements: readonly Statement[];
  readonly resolve: (verdicts: readonly boolean[]) => void;
}

export function createVerifyPool(options: VerifyPoolOptions & VerifyPoolComponents): VerifyPool {
  const pool = new Pool(options);
  const close = (): Promise<void> => pool.close();
  return Object.assign((statements: readonly Statement[]) => pool.check(statements), {
    close,
    [Symbol.asyncDispose]: close,
  });
}

class Pool {
  readonly #threads: number;
  readonly #log: Logger | undefined;
  readonly #createWorker: () => Worker;
  readonly #workers = new Set<Thread>();
  readonly #queue: Job[] = [];
  readonly #open = new Set<Promise<unknown>>();
  #crashes = 0;
  #closed = false;

  constructor({ threads, log, createWorker }: VerifyPoolOptions & VerifyPoolComponents) {
    this.#threads = threads;
    this.#log = log;
    // Without the options of this process: some of them, like --input-type, are refused by a thread.
    this.#createWorker = createWorker ?? (() => new Worker(workerUrl(), { execArgv: [] }));
  }

  /** Errors: closed. */
  async check(statements: readonly Statement[]): Promise<readonly boolean[]> {
    if (this.#closed) throw new MeshError('closed', 'Cannot verify signatures: the pool is closed');
    const work = this.#check(statements);
    this.#open.add(work);
    try {
      return await work;
    } finally {
      this.#open.delete(work);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.allSettled(this.#open);
    await Promise.all([...this.#workers].map((thread) => thread.end()));
    this.#workers.clear();
  }

  async #check(statements: readonly Statement[]): Promise<readonly boolean[]> {
    const packable = statements.filter(isPackable);
    const share = Math.ceil(packable.length / Math.max(1, this.#threads));
    const size = Math.min(Math.max(share, JOB_STATEMENTS_MIN), JOB_STATEMENTS_MAX);
    const jobs: Promise<readonly boolean[]>[] = [];
    for (let i = 0; i < packable.length; i += size) jobs.push(this.#run(packable.slice(i, i + size)));
    // Proofs: few, and no thread knows what they take.
    const rest = statements.filter((statement) => !isSignaturesAlone(statement));
    const restVerdicts = await checkHere(rest);
    const verdicts = (await Promise.all(jobs)).flat();
    if (packable.length === statements.length) return verdicts;
    const valid = new Set([...packable.filter((_, i) => verdicts[i]), ...rest.filter((_, i) => restVerdicts[i])]);
    return statements.map((statement) => valid.has(statement));
  }

  #run(statements: readonly Statement[]): Promise<readonly boolean[]> {
    this.#startThreads();
    if (this.#workers.size === 0 || this.#queue.length >= QUEUE_JOBS_MAX) return checkHere(statements);
    return new Promise((resolve) => {
      this.#queue.push({ statements, resolve });
      this.#handOut();
    });
  }

  #startThreads(): void {
    while (this.#workers.size < this.#threads && this.#crashes <= CRASHES_MAX) {
      const thread: Thread = new Thread(this.#createWorker(), {
        idle: () => this.#handOut(),
        died: (error, left) => this.#bury(thread, error, left),
      });
      this.#workers.add(thread);
    }
  }

  #handOut(): void {
    for (let load = 0; load < JOBS_A_WORKER; load++) {
      for (const thread of this.#workers) {
        if (thread.load > load) continue;
        const job = this.#queue.shift();
        if (job === undefined) return;
        thread.take(job);
      }
    }
  }

  /** What the dead thread had is verified here; so is all that waits if it was the last one. */
  #bury(thread: Thread, error: Error | undefined, left: readonly Job[]): void {
    this.#workers.delete(thread);
    this.#crashes += 1;
    this.#log?.error({ error, jobs: left.length, crashes: this.#crashes }, 'a verifying thread ended by itself');
    this.#startThreads();
    const orphans = this.#workers.size === 0 ? [...left, ...this.#queue.splice(0)] : left;
    for (const { statements, resolve } of orphans) void checkHere(statements).then(resolve);
    this.#handOut();
  }
}

interface ThreadOwner {
  readonly idle: () => void;
  /** With the jobs it had, unless it was asked to end. */
  readonly died: (error: Error | undefined, left: readonly Job[]) => void;
}

/** A worker and the jobs it has, oldest first: it answers them in order. */
class Thread {
  readonly #worker: Worker;
  readonly #jobs: Job[] = [];
  #ending = false;

  constructor(worker: Worker, { idle, died }: ThreadOwner) {
    this.#worker = worker;
    let fault: Error | undefined;
    worker.on('message', (verdicts: Uint8Array) => {
      const job = this.#jobs.shift();
      if (this.#jobs.length === 0) worker.unref();
      idle();
      job?.resolve(Array.from(verdicts, (verdict) => verdict === 1));
    });
    worker.on('error', (error) => {
      fault = error instanceof Error ? error : new Error(String(error));
    });
    worker.on('exit', () => {
      if (!this.#ending) died(fault, this.#jobs.splice(0));
    });
    worker.unref(); // after listening, which undoes it
  }

  get load(): number {
    return this.#jobs.length;
  }

  take(job: Job): void {
    if (this.#jobs.length === 0) this.#worker.ref();
    this.#jobs.push(job);
    const packed = packJob(job.statements);
    this.#worker.postMessage(packed, [packed]);
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#worker.terminate();
  }
}

/** On the calling thread, in turns. */
async function checkHere(statements: readonly Statement[]): Promise<boolean[]> {
  const verdicts: boolean[] = [];
  for (const statement of statements) {
    if (verdicts.length > 0 && verdicts.length % TURN === 0) await setImmediate();
    verdicts.push(isValid(statement));
  }
  return verdicts;
}

function isValid(statement: Statement): boolean {
  try {
    verifySignatures(statement, isSignatureValidSodium);
    return true;
  } catch (error) {
    if (isMeshError(error)) return false;
    throw error;
  }
}
