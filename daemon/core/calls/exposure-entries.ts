/** Entries of the audit log about what is exposed (SPEC "Exposed servers"). */
import { exposureDigests } from '../../../protocol/call/index.ts';
import type { PolicyRef } from '../../../protocol/policy/index.ts';
import type { Logger } from '../../ports.ts';
import type { Recorder } from '../log/recorder.ts';
import { problemOf, type Settle } from '../log/write-ahead.ts';
import type { Exposure } from './exposures.ts';

export interface ExposureEntries {
  /** Resolves once it is durable. Errors: of Recorder.record. */
  exposed(exposure: Exposure, policy: PolicyRef | undefined): Promise<Settle>;
  /** Takes away: goes on also where the log cannot hold it. Never rejects. */
  withdrawn(name: string, origin: Exposure['origin']): Promise<Settle>;
}

export interface ExposureEntriesComponents {
  readonly recorder: Pick<Recorder, 'announce'>;
  readonly log: Logger;
}

export const createExposureEntries = ({ recorder, log }: ExposureEntriesComponents): ExposureEntries => ({
  exposed: async (exposure, policy) => {
    const { name, server, needs, origin } = exposure;
    const members = {
      server: name,
      origin,
      ...exposureDigests(exposure),
      needs: Object.keys(needs).length,
      decidedBy: policy === undefined ? null : { name: policy.name, digest: policy.digest },
      ...('url' in server && { url: new URL(server.url).origin }),
    };
    return recorder.announce('server.exposed', members, { subject: name });
  },
  withdrawn: async (name, origin) => {
    try {
      return await recorder.announce('server.withdrawn', { server: name, origin }, { subject: name });
    } catch (error) {
      const { code, message } = problemOf(error);
      log.warn({ server: name, code, reason: message }, 'a server is withdrawn, which is not in the audit log');
      return () => {};
    }
  },
});

/** For parts that stand alone, without a daemon's log around them. */
export const UNRECORDED: ExposureEntries = { exposed: async () => () => {}, withdrawn: async () => () => {} };
