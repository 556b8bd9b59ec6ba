/**
 * `binding/v1` (SPEC "Audit log statements"): an organisation says which log, which witness and which node are its own.
 * It is what leads from a key of the log to a DID, and so what makes two histories under that key somebody's fault.
 */
import { type Checked, list, literal, map, multikey, refine, textWhere } from '../encoding/schema.ts';
import { equalBytes } from '../encoding/bytes.ts';
import { isPeerId, multikeyOf } from '../encoding/multikey.ts';
import { isMeshError } from '../errors.ts';
import { meshDid, seconds } from '../identity/operations.ts';
import { type LogName, parseLogOrigin, witnessVkey } from './names.ts';
import { formatVkey, isSameKey, parseVkey, type Vkey } from './vkey.ts';

/** The key that a text spells, if it is a key named after itself: of a log or of a witness. */
export function parseOwnVkey(of: 'log' | 'witness', text: string): Vkey | undefined {
  try {
    const vkey = parseVkey(text);
    const named = of === 'log' ? parseLogOrigin(vkey.name)?.vkey : witnessVkey(vkey.publicKey);
    return named !== undefined && formatVkey(named) === text ? named : undefined;
  } catch (error) {
    if (isMeshError(error)) return undefined; // not a key: the schema says what it wanted
    throw error;
  }
}

export const logVkeyText = textWhere(
  (text) => parseOwnVkey('log', text) !== undefined,
  'a key of type 01 whose name "agentmesh/v1/log/<key>/<generation>" holds it',
);
export const witnessVkeyText = textWhere(
  (text) => parseOwnVkey('witness', text) !== undefined,
  'a key of type 04 whose name "agentmesh/v1/witness/<key>" holds it',
);

export const binding = refine(
  map({
    t: literal('binding/v1'),
    by: list(multikey, 3, 3),
    iat: seconds,
    iss: meshDid,
    log: logVkeyText,
    wit: witnessVkeyText,
    peer: textWhere(isPeerId, 'an Ed25519 PeerId like "12D3KooW…"'),
  }),
  (value, fail) => {
    // They sign too: else anybody could claim a witness that is another's, and two claims count for none.
    const isBy = (at: number, vkey: Vkey): boolean =>
      equalBytes(value.by[at] as Uint8Array, multikeyOf(vkey.publicKey));
    if (!isBy(1, parseVkey(value.log)) || !isBy(2, parseVkey(value.wit)))
      fail('by', "a key of iss, then the log's, then the witness's");
    // A key that signs for both would let the one be accused by what the other signed.
    if (isSameKey(parseVkey(value.log), parseVkey(value.wit))) fail('wit', 'another key than that of the log');
  },
);
export type Binding = Checked<typeof binding>;

/** The log that a binding is about. The schema has seen to it that its name is one of ours. */
export const logOf = ({ log }: Binding): LogName => parseLogOrigin(originOf({ log })) as LogName;

/** Its origin, without looking at the key again: no name holds a "+". */
export const originOf = ({ log }: Pick<Binding, 'log'>): string => log.slice(0, log.indexOf('+'));
