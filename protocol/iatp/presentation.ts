/** What a side shows of itself in a handshake (SPEC "Handshake"): {ident?, grant?, set: [envelope, …]}. */
import { Link } from '../encoding/cid.ts';
import { isMeshError } from '../errors.ts';
import { IATP_FRAME_BYTES_MAX, PRESENTED_STATEMENTS_MAX } from '../limits.ts';
import { isOfKind, parseStatement, type Statement } from '../statement/statement.ts';
import type { Presentation } from './frames.ts';

const OTHER_FIELDS_BYTES = 8 * 1024; // room in a frame for what is not the set: capabilities are the largest

export interface Presented {
  /**
   * Id of the root link from the own organisation to the agent, or of the agent's credential under it. Undefined for an
   * organisation.
   */
  readonly ident?: string;
  /** Id of the leaf of a chain that the other side is to judge. */
  readonly grant?: string;
}

/** With as many of the envelopes, in their order, as there is room for; the rest has to be pulled. */
export function createPresentation({ ident, grant }: Presented, envelopes: readonly Uint8Array[]): Presentation {
  const set: Uint8Array[] = [];
  let room = IATP_FRAME_BYTES_MAX - OTHER_FIELDS_BYTES;
  for (const envelope of envelopes) {
    room -= envelope.length + 5; // the longest head of a byte string of this size
    if (room < 0 || set.length === PRESENTED_STATEMENTS_MAX) break;
    set.push(envelope);
  }
  return {
    set,
    ...(ident === undefined ? {} : { ident: Link.parse(ident) }),
    ...(grant === undefined ? {} : { grant: Link.parse(grant) }),
  };
}

export interface OpenedPresentation extends Presented {
  /** Envelopes for the door. */
  readonly published: readonly Uint8Array[];
  /** Private links, which are for this handshake alone. Their signatures are not checked yet. */
  readonly private: readonly Statement<'delegation/v1'>[];
}

/** Errors: as parseStatement, but kinds that are not known here are left out, as the door does. */
export function openPresentation({ ident, grant, set }: Presentation): OpenedPresentation {
  const published: Uint8Array[] = [];
  const links: Statement<'delegation/v1'>[] = [];
  for (const envelope of set) {
    const statement = parsed(envelope);
    if (statement === undefined) continue;
    if (isOfKind(statement, 'delegation/v1') && statement.payload.pri === true) links.push(statement);
    else published.push(envelope);
  }
  return {
    published,
    private: links,
    ...(ident === undefined ? {} : { ident: ident.text }),
    ...(grant === undefined ? {} : { grant: grant.text }),
  };
}

function parsed(envelope: Uint8Array): Statement | undefined {
  try {
    return parseStatement(envelope);
  } catch (error) {
    if (isMeshError(error) && error.code === 'unknown_kind') return undefined;
    throw error;
  }
}
