import { isMeshError, limits } from '../protocol/index.ts';

export interface RenewalOptions {
  /** Renews, and says when what it got ends (RFC 3339). */
  readonly renew: (signal: AbortSignal) => Promise<string>;
  /** Told of each failure; it is tried again unless the agent is revoked or gone. */
  readonly onError: (error: unknown) => void;
}

/** Renews at half-life for as long as it is open. Its timer does not keep a process alive. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: RenewalOptions) {
    this.#options = options;
  }

  /** The first time, now. Errors: those of `renew`. */
  async start(): Promise<void> {
    this.#schedule(await this.#options.renew(this.#controller.signal));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#controller.abort();
  }

  #schedule(expiresAt: string): void {
    this.#after(Math.max(0, (Date.parse(expiresAt) - Date.now()) / 2));
  }

  #after(delayMs: number): void {
    if (this.#controller.signal.aborted) return;
    this.#timer = setTimeout(() => void this.#again(), delayMs).unref();
  }

  async #again(): Promise<void> {
    try {
      this.#schedule(await this.#options.renew(this.#controller.signal));
    } catch (error) {
      if (this.#controller.signal.aborted) return;
      this.#options.onError(error);
      if (isMeshError(error) && ['revoked', 'not_found'].includes(error.code)) return;
      this.#after(limits.CREDENTIAL_RETRY_MS);
    }
  }
}
