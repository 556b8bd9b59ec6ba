/** What the log says of an exposure without showing it (SPEC "Exposed servers"). */
import { toHex } from '../encoding/bytes.ts';
import { digestOf } from '../encoding/cid.ts';
import { encodeJcs } from '../encoding/jcs.ts';
import type { ServerPlace } from './exposure.ts';

export interface ExposureDigests {
  /** Of how it is started or reached. */
  readonly start: string;
  /** Of what its tools need. */
  readonly mapping: string;
}

export interface Digested {
  readonly server: ServerPlace;
  readonly capability: string | null;
  readonly needs: Readonly<Record<string, string>>;
}

/** SHA-256, hex, over canonical JSON. Of variables and headers the names alone: what they hold may be guessed. */
export const exposureDigests = ({ server, capability, needs }: Digested): ExposureDigests => ({
  start: hashOf(
    'command' in server
      ? { command: server.command, cwd: server.cwd, env: namesOf(server.env) }
      : { url: server.url, headers: namesOf(server.headers) },
  ),
  mapping: hashOf({ capability, needs }),
});

const hashOf = (value: object): string => toHex(digestOf(encodeJcs(value)));

const namesOf = (values: Readonly<Record<string, string>> = {}): string[] => Object.keys(values).sort();
